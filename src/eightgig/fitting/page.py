"""The answer as HTML: a table for a notebook, and a page of its own that loads nothing."""

from html import escape

from eightgig.fitting.answer import FitAnswer
from eightgig.fitting.table import cells, columns, headline, lever_line

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark; background: Canvas; color: CanvasText }
table { border-collapse: collapse; display: block; overflow-x: auto } th, td { padding: .3rem .8rem; text-align: left;
  border-bottom: 1px solid color-mix(in srgb, CanvasText 25%, Canvas) }
.fits { color: #1a7f37 } .barely { color: #9a6700 } .no { color: #cf222e; font-weight: bold }
@media (prefers-color-scheme: dark) { .fits { color: #3fb950 } .barely { color: #d29922 } .no { color: #ff7b72 } }
"""


def page_of(answer: FitAnswer) -> str:
    """Return the answer as a page."""
    title = escape(headline(answer))
    details = "".join(
        f"<li>{escape(row.card)}: {escape(said)}</li>"
        for row in answer.rows
        for said in (*row.findings, row.why)
        if said
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>Will it fit?</h1>{table_of(answer)}{f'<h2>What to know</h2><ul>{details}</ul>' if details else ''}"
        f"<p><small>{escape(answer.method)}. No GPU was touched.</small></p></body></html>\n"
    )


def table_of(answer: FitAnswer) -> str:
    """Return the answer as a table with a caption, and the levers below."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns(answer))
    rows = "".join(
        f"<tr>{''.join(_cell(text, row.verdict, place) for place, text in enumerate(cells(answer, row)))}</tr>"
        for row in answer.rows
    )
    levers = "".join(
        f"<li>{escape(row.card)}: {escape(lever_line(lever).strip())}</li>"
        for row in answer.rows
        for lever in row.levers
    )
    below = f"<p>What would make it fit (savings overlap):</p><ul>{levers}</ul>" if levers else ""
    return (
        f"<table><caption>{escape(headline(answer))}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{below}"
    )


def _cell(text: str, verdict: str, place: int) -> str:
    style = f' class="{verdict}"' if place == 2 else ""
    return f"<td{style}>{escape(text)}</td>"
