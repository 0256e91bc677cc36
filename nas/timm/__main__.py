"""Run a script of timm's, or any other, that knows the networks of this project.

``python -m nas.timm validate.py --model local-dir:models/mine --data-dir flowers/test`` is
``python validate.py ...`` after ``import nas.timm``.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import nas.timm  # noqa: F401  # registers the network
from search_spaces.errors import RequestError


def run_script(arguments: Sequence[str]) -> None:
    """Run the script that is named first, with the arguments behind it.

    Raises:
        RequestError: If none is named, or it is no file.
    """
    if not arguments or not Path(arguments[0]).is_file():
        what = f"{arguments[0]} is no file" if arguments else "no script is named"
        raise RequestError(f"{what}; type: python -m nas.timm validate.py --model local-dir:EXPORT ...")
    sys.argv = list(arguments)
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    try:
        run_script(sys.argv[1:])
    except RequestError as error:
        sys.stderr.write(f"nas: {error}\n")
        sys.exit(error.exit_code)
