"""HTML pages that need nothing but a browser: sections, tables and plotly figures, in light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def page(title: str, parts: Iterable[str], figures: Mapping[str, go.Figure]) -> str:
    """Return a whole page.

    Args:
        title: Title of the browser's tab, as plain text.
        parts: HTML of the page from top to bottom; empty ones are left out.
        figures: The figures of the page by name; ``figure`` leaves space for each.
    """
    body = "\n".join(part for part in parts if part)
    script = _script(figures) if figures else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
{script}
</body>
</html>
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int, first: int = 1) -> str:
    """Return a table whose ``numbers`` columns from ``first`` on are aligned right; cells are HTML."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>'
            if first <= column < first + numbers
            else f"<{tag}>{cell}</{tag}>"
            for column, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{line('th', heads)}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def section(title: str, text: str, *parts: str) -> str:
    """Return a titled section: an introduction and its parts, all HTML."""
    return f"<section><h2>{title}</h2><p>{text}</p>{''.join(parts)}</section>"


def figure(name: str, figures: Mapping[str, go.Figure]) -> str:
    """Return the space that one of the page's figures is drawn into."""
    return f'<div class="figure" id="{name}" style="height:{figures[name].layout.height}px"></div>'


def _script(figures: Mapping[str, go.Figure]) -> str:
    # Plotly writes "<" as an escape, so that no text in a figure can end the script.
    content = ",\n".join(f'"{name}": {figure.to_json()}' for name, figure in figures.items())
    return (
        f"<script>{get_plotlyjs()}</script>\n<script>\nconst figures = {{\n{content}\n}};\n{_DRAW}\n</script>"
    )


_DRAW = """
const options = {
  responsive: true, displaylogo: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const axis = {gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"),
                automargin: true, title: {standoff: 12}};
  const template = {layout: {
    font: {family: style.getPropertyValue("font-family"), size: 13, color: colour("--text")},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: axis, yaxis: axis,
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent")},
    hoverlabel: {align: "left", bgcolor: colour("--card"), bordercolor: colour("--line"),
                 font: {color: colour("--text"), size: 12}},
  }};
  for (const [name, figure] of Object.entries(figures)) {
    Plotly.react(name, figure.data, {...figure.layout, template}, options);
  }
}
draw();
dark.addEventListener("change", draw);
"""

_STYLE = """
:root {
  --page: #f6f7f9; --card: #ffffff; --text: #1d2430; --soft: #5b6676; --line: #dfe3ea; --accent: #b04a00;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  line-height: 1.5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --card: #1c2027; --text: #e4e8ee; --soft: #9aa5b4; --line: #343b46; --accent: #ff9a52;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 30px; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 85ch; }
a { color: var(--accent); }
section > p, footer, .lead { color: var(--soft); }
.lead { margin: 2px 0 14px; }
.summary { font-size: 17px; margin: 0 0 18px; }
.summary b { color: var(--accent); white-space: nowrap; }
.state { border-left: 4px solid var(--accent); padding: 6px 12px; background: var(--card); }
.overview { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 10px 28px;
  margin: 0 0 20px; padding: 16px 20px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.overview dt { color: var(--soft); font-size: 12px; text-transform: uppercase; letter-spacing: 0.06em; }
.overview sup { line-height: 0; }
.overview dd { margin: 0; overflow-wrap: anywhere; }
section { margin: 0 0 20px; padding: 18px 20px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.figure { width: 100%; }
.figure + .figure { margin-top: 16px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); white-space: nowrap; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-family: var(--mono); font-size: 0.92em; overflow-wrap: anywhere; }
td code { white-space: nowrap; }
.design { display: flex; flex-wrap: wrap; gap: 4px 6px; }
.design span { font-family: var(--mono); font-size: 12px; padding: 1px 7px; border: 1px solid var(--line);
  border-radius: 6px; }
footer { font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 760px) {
  main { padding: 18px 10px 32px; }
  section, .overview { padding: 14px 12px; }
  table { font-size: 13px; }
  th, td { padding-right: 9px; }
}
@media print { section { break-inside: avoid; } }
"""
