"""``python -m nas`` and the command ``nas``."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it at once and without a word."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nas.cli.main import main as run

    signal.signal(signal.SIGINT, handler)
    try:
        run()
    finally:
        # What is left, such as ending Ray, has nothing to save.
        if handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
