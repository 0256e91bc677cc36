"""However a command ends: one sentence on standard error and a documented exit code, never a traceback.

The traceback of what nobody expected goes to the log of the study that is worked on; with ``NAS_DEBUG=1`` it is
printed as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable

import typer

from nas.cli.render import OutputClosed
from nas.runtime.console import log
from nas.runtime.error_text import first_line, last_line
from nas.runtime.extras import explain_missing
from nas.runtime.secrets import redact
from search_spaces.errors import NasError

_DEBUG = "NAS_DEBUG"
_IMPOSSIBLE_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
_FULL_DATABASE = ("database or disk is full", "No space left on device")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def run(command: Callable[[], object]) -> int:
    """Run a command and return its exit code; whatever it raises ends in one sentence."""
    log.path = None
    code = _run(command)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        _say(f"standard output cannot be written ({error.strerror}); free some space or choose another file")
        return code or 1
    return code


def _run(command: Callable[[], object]) -> int:
    try:
        code = command()
    except (OutputClosed, SystemExit):  # the latter of rich, where it prints the help
        # Whoever read the results (``| head``) has seen enough; nothing failed.
        return 0
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted at once; run the same command again to resume")
        return 130
    except typer.TyperException as error:
        _say(_usage_sentence(error))
        return 2
    except NasError as error:
        return _say_error(error)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (missing := explain_missing(error)) is not None:
            return _say_error(missing)
        where = _keep_traceback(error)
        _say(f"{explain(error)}; {where}")
        return 2 if isinstance(error, OSError) and error.errno in _IMPOSSIBLE_NAME else 1
    return code if isinstance(code, int) else 0


def _say_error(error: NasError) -> int:
    """Print the sentence of an error and the page that says more; return its exit code."""
    if error.__cause__ is not None:
        _keep_traceback(error)
    _say(f"{error} (docs/{error.page})" if error.page else str(error))
    return error.exit_code


def explain(error: Exception) -> str:
    """Return what happened, and what to do where that is known, of an exception that is not ours."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; use fewer workers (--budget) or a smaller --batch-size"
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply"
    if isinstance(error, OSError):
        file = "standard output" if error.filename is None else str(error.filename)
        reason = error.strerror or first_line(error)
        if error.errno in _IMPOSSIBLE_NAME:
            return f"{file} cannot be used ({reason}); give another name"
        if error.errno in _FULL_DISK:
            return f"{file} cannot be written ({reason}); free some space and run the same command again"
        if isinstance(error, PermissionError):
            return f"{file} may not be used ({reason}); change its rights or choose another place"
        return f"{file} cannot be used ({reason})"
    if any(words in str(error) for words in _FULL_DATABASE):
        return f"the database has no room left ({last_line(error)}); free some space and run the same command again"
    return f"this failed unexpectedly ({type(error).__name__}: {first_line(error)})"


def _keep_traceback(error: Exception) -> str:
    """Write a traceback where it can be found; return where that is, in words."""
    text = redact("".join(traceback.format_exception(error)))
    if os.environ.get(_DEBUG):
        sys.stderr.write(text)
    log.note(text)
    if log.path is not None and log.path.is_file():
        return f"the traceback is in {log.path}"
    return f"{_DEBUG}=1 prints the traceback"


def _say(sentence: str) -> None:
    """Print a sentence on standard error, in one line, if anyone is left to read it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"nas: {redact(' '.join(sentence.splitlines()))}\n")
        sys.stderr.flush()


def _discard_output() -> None:
    """Let Python's last flush of standard output go nowhere, where it cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_sentence(error: typer.TyperException) -> str:
    """Return what is wrong with a command line, and which help says how it should be."""
    what = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = "nas" if context is None else context.command_path
    return f"{what[:1].lower()}{what[1:]}; {command} --help lists what can be typed"
