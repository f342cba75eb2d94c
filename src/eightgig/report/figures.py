"""Figures of a report: what a person looks at first. Each function takes a table and gives one plotly figure.

Figures have no background of their own and a palette that reads on white and on near-black, so that a page, a notebook
and kedro-viz can show them as they are. Missing columns and missing values leave gaps; they are never made up.
"""

import html
import math
from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

BLUE, ORANGE, GREEN, VIOLET = "#4c8dd6", "#e08a3c", "#4fa36b", "#9a78c8"
RED, TEAL, GOLD, GREY = "#d65c5c", "#3fa7a7", "#c9a227", "#8a93a0"
PALETTE = (BLUE, ORANGE, GREEN, VIOLET, TEAL, GOLD, RED, GREY)
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
GRID, CLEAR = "rgba(138,147,160,0.22)", "rgba(0,0,0,0)"
MOST_CLASSES_WITH_NUMBERS = 16

_CURVES: tuple[tuple[str, dict[str, str]], ...] = (
    ("Loss", {"train_loss": "training", "val_loss": "validation"}),
    ("Validation {score}", {"val_score": "validation {score}"}),
    ("Learning rate", {"learning_rate": "learning rate"}),
    ("Gradient norm", {"gradient_norm": "gradient norm"}),
    ("Samples a second", {"samples_per_second": "samples a second"}),
    ("Seconds an epoch", {"seconds": "seconds"}),
)


def _styled(figure: go.Figure, *, height_px: int = 380, **layout: object) -> go.Figure:
    """Return the figure its transparent ground, quiet grid and system font."""
    figure.update_layout(
        template="none",
        height=height_px,
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        colorway=list(PALETTE),
        font={"family": FONT, "size": 13, "color": "#7b8492"},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_layout(**layout)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True, title_font_size=13)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True, title_font_size=13)
    return figure


def shown_names(names: Iterable[object]) -> list[str]:
    """Return names as plotly is to show them: it takes `<b>` for bold letters, and drops what else looks like HTML."""
    return [html.escape(str(name), quote=False) for name in names]


def training_curves(history: pd.DataFrame, score_name: str = "score") -> go.Figure:
    """Return one small panel each for loss, score, learning rate, gradient norm and speed, over the epochs.

    Args:
        history: one row an epoch: `epoch` and any of `train_loss, val_loss, val_score, learning_rate,
            gradient_norm, seconds, samples_per_second`. A panel without its columns is left out.
        score_name: what `val_score` is.
    """
    panels = [
        (title.format(score=score_name), columns)
        for title, columns in _CURVES
        if any(name in history and history[name].notna().any() for name in columns)
    ]
    num_rows = max(1, math.ceil(len(panels) / 2))
    figure = make_subplots(
        rows=num_rows, cols=2, subplot_titles=[title for title, _ in panels], vertical_spacing=0.28 / num_rows
    )
    for index, (_, columns) in enumerate(panels):
        for colour, (name, label) in zip((BLUE, ORANGE), columns.items(), strict=False):
            if name not in history:
                continue
            line = go.Scatter(
                x=history["epoch"],
                y=history[name],
                name=label.format(score=score_name),
                mode="lines+markers",
                marker={"size": 5},
                line={"color": colour, "width": 2},
                showlegend=len(columns) > 1,
            )
            figure.add_trace(line, row=index // 2 + 1, col=index % 2 + 1)
    figure.update_annotations(font={"size": 13})
    whole = {"tickmode": "linear", "dtick": 1} if len(history) <= 12 else {}
    figure.update_xaxes(title=None, tickformat="d", **whole)
    figure.update_yaxes(rangemode="tozero")
    return _styled(
        figure, height_px=70 + 210 * num_rows, hovermode="x", legend={"orientation": "h", "y": -0.06, "yanchor": "top"}
    )


def confusion(matrix: pd.DataFrame) -> go.Figure:
    """Return the confusion matrix: rows are the true classes, columns the predicted; the shade is the share of the row.

    Args:
        matrix: square, counts, its index and columns the class names.
    """
    totals = matrix.sum(axis=1)
    shares = matrix.div(totals.where(totals > 0), axis=0)
    names = shown_names(matrix.columns)
    counts = matrix.where(matrix != 0, "").to_numpy(dtype=object)  # empty where nothing was confused: easier to read
    numbers = {"text": counts, "texttemplate": "%{text}"} if len(names) <= MOST_CLASSES_WITH_NUMBERS else {}
    heat = go.Heatmap(
        z=shares.to_numpy(),
        x=names,
        y=shown_names(matrix.index),
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        colorscale=[[0, "rgba(138,147,160,0.10)"], [0.02, "rgba(76,141,214,0.25)"], [1, "rgba(76,141,214,0.85)"]],
        showscale=False,
        customdata=matrix.to_numpy(),
        textfont={"color": "#7b8492"},
        hovertemplate="%{y} taken for %{x}: %{customdata} (%{z:.0%})<extra></extra>",
        **numbers,
    )
    figure = go.Figure(heat)
    # Classes called 0 and 1, or 007, would be numbers on an axis of numbers, and some would fall together.
    figure.update_xaxes(title="predicted", showgrid=False, type="category")
    figure.update_yaxes(title="true", autorange="reversed", showgrid=False, type="category")
    return _styled(figure, height_px=int(min(900, 170 + 42 * len(names))), margin={"l": 60, "r": 10, "t": 20, "b": 50})


def per_class(table: pd.DataFrame) -> go.Figure:
    """Return precision, recall and F1 of each class as dots on a line, the weakest class at the bottom.

    Args:
        table: columns `class, precision, recall, f1` (0..1), and if known `support`.
    """
    rows = table.sort_values("f1", na_position="first")
    counts = rows["support"] if "support" in rows else pd.Series(float("nan"), index=rows.index)
    names = [
        f"{name} ({count:.0f})" if pd.notna(count) else name
        for name, count in zip(shown_names(rows["class"]), counts, strict=True)
    ]
    low, high = rows[["precision", "recall"]].min(axis=1), rows[["precision", "recall"]].max(axis=1)
    span = go.Bar(
        x=high - low,
        base=low,
        y=names,
        orientation="h",
        width=0.12,
        marker={"color": GRID},
        showlegend=False,
        hoverinfo="skip",
    )
    figure = go.Figure(span)
    for column, colour, symbol in (
        ("precision", BLUE, "circle"),
        ("recall", ORANGE, "diamond"),
        ("f1", GREEN, "line-ns-open"),
    ):
        marker = {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colour}}
        figure.add_scatter(
            x=rows[column],
            y=names,
            mode="markers",
            name=column,
            marker=marker,
            hovertemplate="%{x:.1%}",
            cliponaxis=False,
        )
    lowest = float(rows[["precision", "recall", "f1"]].min().min()) if len(rows) else 0.0
    start = 0.0 if math.isnan(lowest) or lowest < 0.5 else math.floor(lowest * 10 - 0.5) / 10
    figure.update_xaxes(tickformat=".0%", range=(start, 1.01))
    figure.update_yaxes(type="category")
    return _styled(figure, height_px=int(120 + 30 * max(3, len(rows))))


def class_balance(splits: pd.DataFrame, of: str = "images") -> go.Figure:
    """Return how many images of each class each split holds.

    Args:
        splits: columns `class, split, num_images`, one row a class and split.
        of: what is counted, for a person.
    """
    figure = go.Figure()
    for index, (split, rows) in enumerate(splits.groupby("split", sort=False)):
        figure.add_bar(
            y=shown_names(rows["class"]),
            x=rows["num_images"],
            name=str(split),
            orientation="h",
            marker={"color": PALETTE[index % len(PALETTE)], "line": {"width": 0}},
            hovertemplate=f"%{{x}} {of}",
        )
    num_classes = splits["class"].nunique()
    figure.update_xaxes(title=of, rangemode="tozero")
    figure.update_yaxes(autorange="reversed", type="category")
    return _styled(figure, height_px=int(130 + 28 * max(3, num_classes)), barmode="stack", bargap=0.35)
