"""HTML pages that need nothing but a browser: sections, tables and plotly figures, in light and dark."""

from __future__ import annotations

import base64
import html
import re
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
    script = f"<script>{SORTING}</script>\n" + (_script(figures) if figures else "")
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
    """Return a table that a click on a head sorts; cells are HTML.

    Args:
        heads: Heads of the columns; one without a name does not sort.
        rows: Cells, row by row. What a cell is sorted by is its text, unless `sorted_by` says otherwise.
        numbers: How many columns are aligned right.
        first: The first of those.
    """

    def cell(tag: str, column: int, content: str) -> str:
        aligned = ' class="n"' if first <= column < first + numbers else ""
        return f"<{tag}{aligned}>{content}</{tag}>"

    names = [f'<button type="button">{head}</button>' if head else "" for head in heads]
    head = "".join(cell("th", column, name) for column, name in enumerate(names))
    body = "".join(
        f"<tr>{''.join(cell('td', column, content) for column, content in enumerate(row))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def sorted_by(value: float, content: str) -> str:
    """Return the content of a cell that is sorted by a number, not by its text."""
    return f'<span data-value="{value:.12g}">{content}</span>'


def details(summary: str, *parts: str) -> str:
    """Return parts behind a line that opens them, all HTML."""
    return f"<details><summary>{summary}</summary>{''.join(parts)}</details>"


def download(name: str, content: str, kind: str) -> str:
    """Return a link that saves a file which the page itself holds.

    Args:
        name: The file's name.
        content: Its text.
        kind: Its media type, such as ``text/csv``.
    """
    data = base64.b64encode(content.encode()).decode()
    name = html.escape(name)
    return f'<a download="{name}" href="data:{kind};charset=utf-8;base64,{data}">{name}</a>'


def section(title: str, text: str, *parts: str) -> str:
    """Return a titled section: an introduction and its parts, all HTML."""
    name = re.sub(r"[^a-z0-9]+", "-", re.sub(r"<[^>]*>", "", title).lower()).strip("-")
    name = f"section-{name}"
    return f'<section><h2 id="{name}">{title}</h2><p>{text}</p>{"".join(parts)}</section>'


def contents(parts: Iterable[str]) -> str:
    """Return links to the sections among parts of a page; empty where they are few."""
    heads = re.findall(r'<section><h2 id="([^"]+)">(.*?)</h2>', "".join(parts))
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, title in heads)
    return f'<nav aria-label="Sections">{links}</nav>' if len(heads) > 3 else ""


def figure(name: str, figures: Mapping[str, go.Figure]) -> str:
    """Return the space that one of the page's figures is drawn into."""
    return f'<div class="figure" id="{name}" style="height:{figures[name].layout.height}px"></div>'


def _script(figures: Mapping[str, go.Figure]) -> str:
    # Plotly writes "<" as an escape, so that no text in a figure can end the script.
    content = ",\n".join(f'"{name}": {figure.to_json()}' for name, figure in figures.items())
    return (
        f"<script>{get_plotlyjs()}</script>\n<script>\nconst figures = {{\n{content}\n}};\n{_DRAW}\n</script>"
    )


#: Sorts a table by the column whose head is clicked: numbers with prefixes of units, or text; empty cells come last.
SORTING = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, row = head.parentElement, body = head.closest("table").tBodies[0];
    const column = [...row.children].indexOf(head), scale = {k: 1e3, M: 1e6, G: 1e9};
    const number = text => {
      const found = /^[^\\w+.−-]*([+−-]?[\\d.,]*\\d)\\s*([kMG]?)(?![\\w.])/.exec(text);
      return found ? found[1].replace("−", "-").replaceAll(",", "") * (scale[found[2]] ?? 1) : NaN;
    };
    const key = line => {
      const cell = line.cells[column], given = cell.querySelector("[data-value]");
      return given ? given.dataset.value : cell.textContent.trim();
    };
    const keyed = [...body.rows].map(line => ({line, text: key(line)}));
    const known = keyed.filter(each => each.text !== "" && each.text !== "–");
    const numeric = known.every(each => !isNaN(number(each.text)));
    const down = head.getAttribute("aria-sort") === "ascending";
    const order = (a, b) => numeric ? number(a.text) - number(b.text)
                                    : a.text.localeCompare(b.text, undefined, {numeric: true});
    known.sort((a, b) => down ? order(b, a) : order(a, b));
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...[...known, ...keyed.filter(each => !known.includes(each))].map(each => each.line));
  });
}
"""

_DRAW = """
const options = {
  responsive: true, displaylogo: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 600px)");
// What a figure changes on a narrow screen is in its layout's meta; scales of colours have no room there.
function fit(figure) {
  const data = structuredClone(figure.data), layout = structuredClone(figure.layout);
  if (narrow.matches) {
    for (const trace of data) if (trace.marker?.showscale) trace.marker.showscale = false;
    for (const [path, value] of Object.entries(layout.meta?.narrow ?? {})) {
      const keys = path.split("."), last = keys.pop();
      keys.reduce((part, key) => part[key] ??= {}, layout)[last] = value;
    }
  }
  return {data, layout};
}
function draw() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const axis = {gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"),
                automargin: true, title: {standoff: 12}};
  const template = {layout: {
    font: {family: style.getPropertyValue("font-family"), size: 13, color: colour("--text")},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: axis, yaxis: axis, annotationdefaults: {bgcolor: colour("--card") + "c0"},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent")},
    hoverlabel: {align: "left", bgcolor: colour("--card"), bordercolor: colour("--line"),
                 font: {color: colour("--text"), size: 12}},
  }};
  for (const [name, figure] of Object.entries(figures)) {
    const {data, layout} = fit(figure);
    document.getElementById(name).style.height = `${layout.height}px`;
    Plotly.react(name, data, {...layout, template}, options);
  }
}
draw();
dark.addEventListener("change", draw);
narrow.addEventListener("change", draw);
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
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th button:hover { color: var(--accent); }
th[aria-sort]::after { content: " \\25B4"; }
th[aria-sort="descending"]::after { content: " \\25BE"; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-family: var(--mono); font-size: 0.92em; overflow-wrap: anywhere; }
td code { white-space: nowrap; }
.design { display: flex; flex-wrap: wrap; gap: 4px 6px; }
.design span { font-family: var(--mono); font-size: 12px; padding: 1px 7px; border: 1px solid var(--line);
  border-radius: 6px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 18px; font-size: 14px; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.beside { display: grid; grid-template-columns: minmax(0, 400px) minmax(0, 1fr); gap: 12px 32px; }
.drawing svg, .drawings svg { max-width: 100%; height: auto; display: block; }
.drawings { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 20px; }
figure { margin: 0; }
figcaption { font-size: 13px; color: var(--soft); padding: 2px 12px; }
details { margin: 14px 0 0; }
summary { cursor: pointer; color: var(--soft); padding: 2px 0 8px; }
summary:hover { color: var(--accent); }
abbr { text-decoration: none; cursor: help; }
footer { font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 860px) { .beside { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 760px) {
  main { padding: 18px 10px 32px; }
  section, .overview { padding: 14px 12px; }
  .design { min-width: 520px; }
  td:not(.n):nth-last-child(-n+2) { min-width: 14ch; }
  table { font-size: 13px; }
  th, td { padding-right: 9px; }
}
@media print { section { break-inside: avoid; } }
"""
