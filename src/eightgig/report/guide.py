"""Figures of the GPU guide: workloads against cards, as heat maps. Each function takes a table and gives a figure."""

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from eightgig.report.figures import BLUE, GREEN, ORANGE, RED, _styled

# (name, colour, opacity) by code: whether a workload fits, and at which price. Light enough for text in either theme.
FIT_CODES: tuple[tuple[str, str, float], ...] = (
    ("fits", GREEN, 0.45),
    ("fits, and takes longer for it", ORANGE, 0.45),
    ("does not fit", RED, 0.45),
)
_FASTEST = 8.0  # times the reference card; the scale is even in both directions


def fits_heat_map(table: pd.DataFrame, cards: Sequence[str]) -> go.Figure:
    """Return workloads against cards: whether each fits, what it holds of the card's memory, and how.

    Args:
        table: columns `title, card, fit_code` (0 fits, 1 at the price of time, 2 not), `text` and `detail`.
        cards: in the order of the columns.
    """
    codes, texts, details = (_pivot(table, column, cards) for column in ("fit_code", "text", "detail"))
    steps = len(FIT_CODES)
    scale = [
        [edge / steps, _faded(colour, opacity)]
        for index, (_, colour, opacity) in enumerate(FIT_CODES)
        for edge in (index, index + 1)
    ]
    figure = _heat_map(codes, texts, details, colorscale=scale, zmin=-0.5, zmax=steps - 0.5)
    for name, colour, opacity in FIT_CODES:  # a heat map has no legend of its own
        marker = {"size": 13, "symbol": "square", "color": _faded(colour, opacity)}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    return _laid_out(figure, len(codes))


def speed_heat_map(table: pd.DataFrame, cards: Sequence[str]) -> go.Figure:
    """Return workloads against cards: how many times as fast as on the reference card.

    Args:
        table: columns `title, card, ratio` (missing where it does not fit), `text` and `detail`.
        cards: in the order of the columns.
    """
    with_logs = table.assign(log=[math.log2(ratio) if pd.notna(ratio) else math.nan for ratio in table["ratio"]])
    logs, texts, details = (_pivot(with_logs, column, cards) for column in ("log", "text", "detail"))
    scale = [[0, _faded(ORANGE, 0.7)], [0.5, "rgba(138,147,160,0.10)"], [1, _faded(BLUE, 0.85)]]
    end = math.log2(_FASTEST)
    figure = _heat_map(logs, texts, details, colorscale=scale, zmin=-end, zmax=end)
    return _laid_out(figure, len(logs))


def _heat_map(values: pd.DataFrame, texts: pd.DataFrame, details: pd.DataFrame, **options: object) -> go.Figure:
    heat = go.Heatmap(
        z=values.to_numpy(dtype=float),
        x=[str(name) for name in values.columns],
        y=[str(name) for name in values.index],
        text=texts.fillna("").to_numpy(),
        texttemplate="%{text}",
        textfont={"color": "#7b8492", "size": 12},
        customdata=details.fillna("").to_numpy(),
        hovertemplate="%{y} on %{x}<br>%{customdata}<extra></extra>",
        xgap=3,
        ygap=3,
        showscale=False,
        **options,
    )
    return go.Figure(heat)


def _laid_out(figure: go.Figure, num_rows: int) -> go.Figure:
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    legend = {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0}
    return _styled(figure, height_px=130 + 66 * num_rows, margin={"l": 60, "r": 10, "t": 60, "b": 40}, legend=legend)


def _pivot(table: pd.DataFrame, column: str, cards: Sequence[str]) -> pd.DataFrame:
    wide = table.pivot(index="title", columns="card", values=column)
    return wide.reindex(index=list(dict.fromkeys(table["title"])), columns=list(cards))


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
