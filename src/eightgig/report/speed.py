"""Speed against score: every variant as one marker, and the one to use."""

import itertools
import math
import textwrap
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from eightgig.report.figures import PALETTE, _styled

_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_LINE_LENGTH = 96


def speed_against_score(benchmark: pd.DataFrame) -> go.Figure:
    """Return latency against the score, one marker a variant, its area the file's size; what could not run is listed.

    Variants that failed their gate are hollow. The recommended one of each device is ringed and named.

    Args:
        benchmark: columns `variant, score` (0..1), `latency_p50_ms`, and if known `score_name`, `latency_p95_ms`,
            `size_mib`, `passed`, `recommended`. Rows without score or latency are listed under the figure, not drawn.
    """
    ran = benchmark[benchmark["latency_p50_ms"].notna() & benchmark["score"].notna()]
    largest_mib = ran["size_mib"].max() if "size_mib" in ran else float("nan")
    looks = itertools.cycle((colour, symbol) for symbol in _SYMBOLS for colour in PALETTE)
    figure = go.Figure(
        [_variant(row, look, largest_mib) for look, (_, row) in zip(looks, ran.iterrows(), strict=False)]
    )
    wide = len(ran) > 1 and ran["latency_p50_ms"].max() > 10 * ran["latency_p50_ms"].min()
    kind = "log" if wide else "linear"
    name = str(benchmark["score_name"].iloc[0]) if "score_name" in benchmark else "score"
    figure.update_xaxes(title="latency p50, ms (the line reaches to p95)", type=kind, rangemode="tozero")
    figure.update_yaxes(title=name, tickformat=".0%" if _spread(ran) > 0.04 else ".1%", **_score_range(ran))
    return _with_missing(figure, [str(name) for name in benchmark.drop(ran.index)["variant"]])


def _variant(row: pd.Series, look: tuple[str, str], largest_mib: float) -> go.Scatter:
    """Return the marker of one variant, with a line from p50 to p95; without a size it is as large as the largest."""
    size_mib, late_ms, name = row.get("size_mib"), row.get("latency_p95_ms"), str(row["variant"])
    size_px = 12 + 22 * (math.sqrt(size_mib / largest_mib) if pd.notna(size_mib) else 1.0)
    delay_ms = late_ms - row["latency_p50_ms"] if pd.notna(late_ms) else 0.0
    colour, symbol = look
    recommended, failed = bool(row.get("recommended", False)), row.get("passed", True) is False
    ring = {"width": 4 if recommended else 2, "color": "#e8b923" if recommended else colour}
    return go.Scatter(
        x=[row["latency_p50_ms"]],
        y=[row["score"]],
        error_x={"array": [delay_ms], "arrayminus": [0], "thickness": 1.2, "visible": delay_ms > 0, "color": colour},
        mode="markers+text" if recommended else "markers",
        name=name + (" (failed its gate)" if failed else ""),
        text=[f"<b>recommended: {name}</b>"],
        textposition="top center",
        cliponaxis=False,
        marker={
            "size": size_px,
            "color": colour,
            "symbol": symbol + ("-open" if failed else ""),
            "opacity": 0.85,
            "line": ring,
        },
        hovertemplate="%{x:.2f} ms, %{y:.1%}" + (f", {size_mib:.1f} MiB" if pd.notna(size_mib) else ""),
    )


def _with_missing(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """List under the figure what could not run."""
    lines = textwrap.wrap("not run: " + ", ".join(names), _LINE_LENGTH) if names else []
    bottom_px = 70 + 20 * len(lines)
    if lines:
        figure.add_annotation(
            text="<br>".join(lines),
            align="left",
            showarrow=False,
            xref="paper",
            yref="paper",
            x=0,
            y=0,
            yshift=-58,
            xanchor="left",
            yanchor="top",
        )
    legend = {"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top", "itemsizing": "constant"}
    margin = {"l": 60, "r": 30, "t": 40, "b": bottom_px}
    return _styled(figure, height_px=400 + bottom_px, margin=margin, legend=legend)


def _spread(ran: pd.DataFrame) -> float:
    return float(ran["score"].max() - ran["score"].min()) if len(ran) else 1.0


def _score_range(ran: pd.DataFrame) -> dict[str, Sequence[float]]:
    """Leave room around the markers, so that a difference of a point neither vanishes nor looks like a cliff."""
    if not len(ran):
        return {"range": (0, 1)}
    middle, half = float(ran["score"].max() + ran["score"].min()) / 2, max(0.03, 0.75 * _spread(ran))
    return {"range": (middle - half, min(1.015, middle + 1.3 * half))}
