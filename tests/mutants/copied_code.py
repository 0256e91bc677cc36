"""A copy of the code, faults in it, and its tests, which run in processes that begin with the libraries imported."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.fault import Fault

#: Seconds after which tests have no end: that is noticed too.
TIMEOUT = 1800
#: Imported once, before a process is forked for each fault: they take longer than many a test.
_LIBRARIES = ("hypothesis", "numpy", "optuna", "timm", "timm.optim", "torch", "torchvision")
_OURS = ("nas", "search_spaces", "supernet", "tests")


class CopiedCode:
    """All files that git knows, in another folder.

    Args:
        root: The repository.
        folder: An empty folder.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
        for name in listed.decode().split("\0"):
            if name and (root / name).is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((root / name).read_bytes())
        for library in _LIBRARIES:
            importlib.import_module(library)

    @contextlib.contextmanager
    def changed_by(self, fault: Fault) -> Iterator[None]:
        """Hold a fault.

        Args:
            fault: What is changed.

        Raises:
            SystemExit: If the text that it is about is no longer there once.
        """
        path = self.folder / fault.file
        text = path.read_text(encoding="utf-8")
        if text.count(fault.right) != 1:
            sys.exit(
                f"{fault.file} holds {fault.right!r} {text.count(fault.right)} times; mend tests/mutants"
            )
        path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    def find_failing_test(self, tests: tuple[str, ...]) -> str | None:
        """Return the first test that fails, or None where all pass.

        Args:
            tests: Files, folders or single tests, as pytest takes them.
        """
        printed, failed = self.folder / "printed.txt", self.folder / "failed.txt"
        failed.unlink(missing_ok=True)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=self._run_tests, args=(tests, printed, failed))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()
            return f"no end within {TIMEOUT} s"
        if process.exitcode == 0:
            return None
        if not failed.exists():
            sys.exit(f"pytest did not run:\n{printed.read_text(encoding='utf-8', errors='replace')}")
        return failed.read_text(encoding="utf-8")

    def _run_tests(self, tests: tuple[str, ...], printed: Path, failed: Path) -> None:
        with printed.open("w", encoding="utf-8") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(self.folder)
        os.environ |= {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
            del sys.modules[name]
        # Plugins that a library has imported are not rewritten; their assertions are not ours.
        imported = "ignore::pytest.PytestAssertRewriteWarning"
        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", imported]
        sys.exit(pytest.main([*options, *tests], [_FailureWriter(failed)]))


class _FailureWriter:
    """A plugin of pytest that writes the name of a test that fails, or of a file that cannot be collected.

    Args:
        path: The file that gets it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._path.write_text(report.nodeid, encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._path.write_text(report.nodeid, encoding="utf-8")
