"""How Sphinx builds these pages: ``make docs`` writes them to ``build/docs``; every warning, a dead link too, fails.

The source is the whole repository, so that one relative link works here, on the site and where the files are hosted.
"""

from __future__ import annotations

import re
from importlib import metadata
from types import ModuleType
from typing import Any

import nas

project = "nas"
copyright = "the authors of nas, Apache-2.0"
release = metadata.version("nas")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
# What the site shows of the repository beside docs/.
root_doc = "docs/index"
include_patterns = ["docs/**.md", "*.md", "studies/*.md", "studies/*/NOTES.md", "search_spaces/PUBLISHED.md"]
exclude_patterns = [".*", "build", "dist", "gpu-results", "nas", "supernet", "tests"]

html_theme = "furo"
html_title = "nas"
html_extra_path = ["site"]
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False

myst_fence_as_directive = ["mermaid"]
# Headings can be linked to as on GitHub: page.md#the-heading.
myst_heading_anchors = 4
# The copied line is what is typed, without the prompt.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
# Mermaid's script is fetched by the reader's browser; without it the text of a drawing is shown.
mermaid_output_format = "raw"

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False


def list_public_names(app: Any, document: str, source: list[str]) -> None:
    """Put a directive for every name of ``nas`` in place of ``{public names}``, functions first."""
    if "{public names}" in source[0]:
        names = sorted(nas.__all__, key=lambda name: isinstance(getattr(nas, name), type))
        source[0] = source[0].replace("{public names}", "\n".join(map(directive, names)))


def keep_errors_with_numbers(app: Any, document: str, source: list[str]) -> None:
    """Keep a number and its error on one line of a narrow column."""
    source[0] = source[0].replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def directive(name: str) -> str:
    """Return what documents one public name."""
    value = getattr(nas, name)
    if isinstance(value, ModuleType):  # a package that is called as the function of its name is
        return f".. autofunction:: nas.api.{name}.{name}\n"
    if isinstance(value, type):
        return f".. autoclass:: {value.__module__}.{name}\n   :members:\n"
    return f".. autofunction:: {value.__module__}.{name}\n"


def mark_code(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn single backticks of docstrings, which stand for code, into reStructuredText's double ones."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)(?P<s>\w?)", double, "\n".join(lines))
    lines[:] = text.split("\n")


def double(code: re.Match[str]) -> str:
    """Return a word of code in double backticks, and apart from a plural's letter."""
    return f"``{code[1]}``" + (f"\\ {code['s']}" if code["s"] else "")


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("source-read", list_public_names)
    app.connect("source-read", keep_errors_with_numbers)
    app.connect("autodoc-process-docstring", mark_code)
