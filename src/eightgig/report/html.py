"""A page as one self-contained HTML file."""

import json
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from eightgig.report.page import Chart, Page, is_missing

MISSING = "–"


def render_page(page: Page) -> str:
    """Return the page as one HTML text that loads nothing: style, figures, images and plotly.js are inside.

    Everything that comes from data is escaped. It follows the reader's light or dark setting and has a switch.
    """
    has_charts = any(isinstance(block, Chart) for section in page.sections for block in section.blocks)
    about = _in_script(json.dumps({"title": page.title, "subtitle": page.subtitle, "summary": page.summary}))
    plotly_js = Markup(get_plotlyjs()) if has_charts else ""  # noqa: S704 - plotly's own
    return _template().render(page=page, about=about, plotly_js=plotly_js)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        shown=shown, figure_json=_figure_json, paragraphs=lambda text: text.strip().split("\n\n")
    )
    return environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))


def _figure_json(figure: go.Figure) -> Markup:
    return _in_script(figure.to_json())


def _in_script(text: str) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - "<" is written as an escape


def shown(value: Any) -> str:
    """Write a cell for a person: a dash for what is missing, `1,234` and `0.9123` for numbers, yes and no."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:,.0f}" if abs(float(value)) >= 1000 else f"{value:.4g}"
    return str(value)
