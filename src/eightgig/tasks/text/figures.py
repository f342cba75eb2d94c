"""Figures of texts and of those who read and write them."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from eightgig.report.figures import BLUE, _styled, shown_names

_BINS = 10


def reliability(predictions: pd.DataFrame) -> go.Figure:
    """Return how often the answers of each sureness were right; on the diagonal, probabilities may be believed.

    Args:
        predictions: `probability` of the answer (0 to 1) and whether it was `correct`, a row a sample.
    """
    bins = (predictions["probability"] * _BINS).astype(int).clip(upper=_BINS - 1)
    rows = (
        predictions.assign(bin=bins)
        .groupby("bin")
        .agg(sure=("probability", "mean"), right=("correct", "mean"), number=("correct", "size"))
    )
    figure = go.Figure(
        [
            go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="as sure as right", line={"dash": "dot"}),
            go.Scatter(
                x=rows["sure"],
                y=rows["right"],
                mode="lines+markers",
                name="test texts",
                text=[f"{number} texts" for number in rows["number"]],
                marker={"size": (6 + 18 * np.sqrt(rows["number"] / max(1, len(predictions)))).tolist()},
                line={"color": BLUE},
            ),
        ]
    )
    figure.update_xaxes(title="probability of the answer", range=[0, 1.02], tickformat=".0%")
    figure.update_yaxes(title="answers that were right", range=[0, 1.02], tickformat=".0%")
    return _styled(figure)


def lengths(tokens_N: NDArray[np.int64], max_tokens: int) -> go.Figure:
    """Return how many texts have how many tokens, with the length at which longer ones were cut."""
    figure = go.Figure(go.Histogram(x=tokens_N, nbinsx=40, marker={"color": BLUE}))
    figure.add_vline(x=max_tokens, line_dash="dot", annotation_text="cut here")
    figure.update_xaxes(title="tokens")
    figure.update_yaxes(title="texts")
    return _styled(figure)


def bits_by_document(bits: dict[str, float]) -> go.Figure:
    """Return how well each held-out document was predicted, the best first."""
    ordered = sorted(bits.items(), key=lambda item: -item[1])
    figure = go.Figure(
        go.Bar(
            x=[value for _, value in ordered],
            y=shown_names(name for name, _ in ordered),
            orientation="h",
            marker={"color": BLUE},
        )
    )
    figure.update_xaxes(title="bits per byte (lower is better)")
    figure.update_yaxes(type="category")
    return _styled(figure)


def bits_by_epoch(bits: list[float]) -> go.Figure:
    """Return the bits per byte of validation text after each epoch."""
    epochs = list(range(1, len(bits) + 1))
    figure = go.Figure(go.Scatter(x=epochs, y=bits, mode="lines+markers", line={"color": BLUE}))
    figure.update_xaxes(title="epoch", dtick=max(1, len(bits) // 10))
    figure.update_yaxes(title="bits per byte (lower is better)")
    return _styled(figure)


def shortened(text: str, letters: int) -> str:
    """Return a text on one line, cut at so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= letters else line[: letters - 3] + "..."
