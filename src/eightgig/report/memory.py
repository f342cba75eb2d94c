"""Figures of memory: over one training step, and by phase, both by who holds it and against the budget.

Each function takes a table and gives one plotly figure; a category has the same colour and words in both.
"""

import itertools
import textwrap

import pandas as pd
import plotly.graph_objects as go

from eightgig.report.figures import BLUE, GOLD, GREEN, GREY, ORANGE, RED, TEAL, VIOLET, _styled

# (words, colour) of each category, from the lowest layer of a stack up.
CATEGORY_STYLES: dict[str, tuple[str, str]] = {
    "parameters": ("weights", BLUE),
    "optimizer": ("optimizer state", VIOLET),
    "gradients": ("gradients", GREEN),
    "batch": ("input batch", TEAL),
    "activations": ("activations", ORANGE),
    "temporaries": ("temporary results", GOLD),
    "workspace": ("library workspace", GREY),
}
_OPACITY = 0.88
_BAND, _EDGE = "rgba(138,147,160,0.09)", {"color": "rgba(138,147,160,0.45)", "width": 1, "dash": "dot"}
_NARROWEST_NAMED_BAND = 0.055
_LEAST_NAMED_SHARE = 0.005  # of the peak: thinner layers cannot be seen, and are left out of the legend
_FARTHEST_BUDGET = 3.0  # times the highest memory: a budget beyond it would flatten all else, and is told in words
_ROW_PX = 70
_BESIDE = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"}
_LEGEND_CHARACTERS = 22
_BUDGET_LINE = {"color": RED, "width": 2, "dash": "dash"}
_BUDGET_WORDS = {"font": {"color": RED}, "showarrow": False}


def memory_over_step(timeline: pd.DataFrame, budget_gib: float, *, measured_gib: float | None = None) -> go.Figure:
    """Return who holds how much over one training step, its phases, its peak, and the budget as a line.

    Args:
        timeline: columns `done` (0..1, rising), `phase`, and GiB in a column for each of `CATEGORY_STYLES`.
        budget_gib: the memory that the run may use.
        measured_gib: the peak that was measured, where it can be held against the prediction.
    """
    figure = go.Figure()
    totals = timeline[[category for category in CATEGORY_STYLES if category in timeline]].sum(axis=1)
    peak_gib = float(totals.max()) if len(totals) else 0.0
    highest = max(peak_gib, measured_gib or 0.0)
    _add_layers(figure, timeline, peak_gib)
    _add_phases(figure, timeline)
    done = float(timeline["done"].iloc[int(totals.argmax())]) if peak_gib > 0 else 0.0
    if measured_gib is not None:
        words = f"measured peak {measured_gib:.2f} GiB"
        _add_level(figure, measured_gib, words, span=(done, 1), crowded=_crowded(measured_gib, budget_gib))
    if peak_gib > 0:
        _add_peak(figure, done, peak_gib, crowded=_crowded(peak_gib, budget_gib))
    _add_budget(figure, budget_gib, highest)
    start = float(timeline["done"].iloc[0]) if len(timeline) else 0.0
    figure.update_xaxes(title="one training step, not to scale in time")
    figure.update_xaxes(showticklabels=False, showgrid=False, range=(start, 1), hoverformat=".0%")
    figure.update_yaxes(title="GiB", range=(0, _axis_end(budget_gib, highest)))
    return _styled(figure, height_px=440, hovermode="x unified", legend=_BESIDE | {"traceorder": "reversed"})


def memory_against_budget(parts: pd.DataFrame, budget_gib: float) -> go.Figure:
    """Give, for each phase, the predicted categories in a row, what was measured below them, and the budget as a line.

    Args:
        parts: columns `phase, part, gib, kind`; kind is `predicted`, its part one of `CATEGORY_STYLES`, or `measured`,
            its part the words for what was measured.
        budget_gib: the memory that the run may use.
    """
    figure = go.Figure()
    predicted, measured = (parts[parts["kind"] == kind] for kind in ("predicted", "measured"))
    labels = {phase: _phase_label(phase, predicted, measured) for phase in dict.fromkeys(parts["phase"])}
    sums = parts.groupby(["phase", "kind"])["gib"].sum()
    highest = float(sums.max()) if len(sums) else 0.0
    for category, (words, colour) in CATEGORY_STYLES.items():
        rows = predicted[predicted["part"] == category]
        most = float(rows["gib"].max()) if len(rows) else 0.0
        if most > 0:
            marker, named = {"color": colour, "opacity": 0.9}, most >= _LEAST_NAMED_SHARE * highest
            _add_bars(figure, rows, labels, name=words, offsetgroup="predicted", marker=marker, showlegend=named)
    for shape, (part, rows) in zip(itertools.cycle("/."), measured.groupby("part", sort=False)):
        pattern = {"shape": shape, "fgcolor": GREY, "bgcolor": "rgba(138,147,160,0.15)", "size": 7, "solidity": 0.25}
        marker = {"pattern": pattern, "line": {"color": GREY, "width": 1.5}}
        _add_bars(figure, rows, labels, name=_wrapped(f"measured: {part}"), offsetgroup="measured", marker=marker)
    _add_budget_upright(figure, budget_gib, highest)
    figure.update_xaxes(title="GiB", range=(0, _axis_end(budget_gib, highest)))
    figure.update_yaxes(showgrid=False, autorange="reversed", ticklabelstandoff=8)
    return _styled(figure, height_px=110 + _ROW_PX * max(3, len(labels)), barmode="stack", bargap=0.32, legend=_BESIDE)


def _add_bars(figure: go.Figure, rows: pd.DataFrame, labels: dict[str, str], **options: object) -> None:
    figure.add_bar(
        x=rows["gib"],
        y=[labels[phase] for phase in rows["phase"]],
        orientation="h",
        hovertemplate="%{x:.2f} GiB",
        **options,
    )


def _phase_label(phase: str, predicted: pd.DataFrame, measured: pd.DataFrame) -> str:
    """Write the phase with its sums, which stand beside its bars."""
    sums = [
        (words, rows[rows["phase"] == phase]["gib"])
        for words, rows in (("predicted", predicted), ("measured", measured))
    ]
    lines = [f"{words} {_written(float(gib.sum()))}" for words, gib in sums if len(gib)]
    return "<br>".join([f"<b>{phase}</b>", *lines])


def _written(gib: float) -> str:
    return f"{gib:.3f}" if 0 < gib < 0.1 else f"{gib:.2f}"


def _wrapped(words: str) -> str:
    return "<br>".join(textwrap.wrap(words, _LEGEND_CHARACTERS))


def _add_layers(figure: go.Figure, timeline: pd.DataFrame, peak_gib: float) -> None:
    for category, (words, colour) in CATEGORY_STYLES.items():
        most = float(timeline[category].max()) if category in timeline and len(timeline) else 0.0
        if most > 0:
            figure.add_scatter(
                x=timeline["done"],
                y=timeline[category],
                name=words,
                stackgroup="held",
                mode="lines",
                line={"width": 0, "color": colour},
                fillcolor=_faded(colour, _OPACITY),
                showlegend=most >= _LEAST_NAMED_SHARE * peak_gib,
                hovertemplate="%{y:.2f} GiB",
            )


def _add_phases(figure: go.Figure, timeline: pd.DataFrame) -> None:
    """Shade every other phase, and name above the plot those that are wide enough for it."""
    runs = (timeline["phase"] != timeline["phase"].shift()).cumsum()
    start = 0.0
    for index, (_, rows) in enumerate(timeline.groupby(runs, sort=False)):
        end, from_top = float(rows["done"].iloc[-1]), {"y0": 0, "y1": 1, "yref": "paper"}
        if index % 2 == 0:
            figure.add_shape(type="rect", x0=start, x1=end, fillcolor=_BAND, layer="below", line_width=0, **from_top)
        figure.add_shape(type="line", x0=end, x1=end, line=_EDGE, **from_top)
        if end - start >= _NARROWEST_NAMED_BAND:
            at = {"x": (start + end) / 2, "y": 1, "yref": "paper", "yanchor": "bottom"}
            figure.add_annotation(text=str(rows["phase"].iloc[0]), showarrow=False, **at)
        start = end


def _add_peak(figure: go.Figure, done: float, peak_gib: float, *, crowded: bool) -> None:
    words = f"predicted peak {peak_gib:.2f} GiB"
    _add_level(figure, peak_gib, words, span=(0, done), crowded=crowded)
    marker = {"size": 9, "color": GREY, "line": {"width": 2, "color": "white"}}
    figure.add_scatter(
        x=[done], y=[peak_gib], mode="markers", showlegend=False, hoverinfo="skip", cliponaxis=False, marker=marker
    )


def _add_level(figure: go.Figure, gib: float, words: str, *, span: tuple[float, float], crowded: bool) -> None:
    """Draw a quiet line from the peak to the plot's edge, its words there, where a step holds least."""
    figure.add_shape(type="line", x0=span[0], x1=span[1], y0=gib, y1=gib, line={"color": GREY, "width": 1.2})
    side, edge = ("left", 0) if span[0] == 0 else ("right", 1)
    anchor = "top" if crowded else "bottom"
    at = {"x": edge, "xref": "paper", "xanchor": side, "y": gib, "yanchor": anchor}
    figure.add_annotation(text=f"<b>{words}</b>", showarrow=False, **at)


def _crowded(gib: float, budget_gib: float) -> bool:
    """Tell whether the budget's line is so near that words between the two would touch it."""
    return abs(budget_gib - gib) < 0.1 * max(gib, budget_gib)


def _axis_end(budget_gib: float, highest: float) -> float:
    return 1.12 * max(highest, budget_gib) if _is_near(budget_gib, highest) else 1.25 * highest


def _is_near(budget_gib: float, highest: float) -> bool:
    return highest == 0 or budget_gib <= _FARTHEST_BUDGET * highest


def _add_budget(figure: go.Figure, budget_gib: float, highest: float) -> None:
    """Draw the budget as a line across, or say how far above it is."""
    place = {"x": 1, "xref": "paper", "xanchor": "right", "yanchor": "bottom", "y": budget_gib}
    if _is_near(budget_gib, highest):
        figure.add_hline(y=budget_gib, line=_BUDGET_LINE)
    else:
        place |= {"y": 1, "yref": "paper", "yanchor": "top"}
    figure.add_annotation(**_BUDGET_WORDS, **place, text=_budget_words(budget_gib, highest, "↑"))


def _add_budget_upright(figure: go.Figure, budget_gib: float, highest: float) -> None:
    """Draw the budget as a line from top to bottom, or say how far to the right it is."""
    place = {"y": 1, "yref": "paper", "yanchor": "bottom", "x": budget_gib, "xanchor": "right"}
    if _is_near(budget_gib, highest):
        figure.add_vline(x=budget_gib, line=_BUDGET_LINE)
    else:
        place |= {"x": 1, "xref": "paper", "xanchor": "right"}
    figure.add_annotation(**_BUDGET_WORDS, **place, text=_budget_words(budget_gib, highest, "→"))


def _budget_words(budget_gib: float, highest: float, arrow: str) -> str:
    words = f"<b>budget {budget_gib:.2f} GiB</b>"
    return words if _is_near(budget_gib, highest) else f"{arrow} {words}, beyond this scale"


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
