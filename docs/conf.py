"""How Sphinx builds these pages: ``make docs`` writes them to ``build/docs``; every warning, a dead link too, fails.

The source is the whole repository, so that one relative link works here, on the site and where the files are hosted.
"""

from __future__ import annotations

from importlib import metadata

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
nitpicky = False
