"""Figures of agents."""

import pandas as pd
import plotly.graph_objects as go

from eightgig.report.figures import BLUE, GREY, PALETTE, _styled

_FEWEST_FOR_A_BAND = 3


def learning_curves(curves: pd.DataFrame, *, random_return: float, threshold: float | None) -> go.Figure:
    """Return the mean return of the last 100 episodes over the steps of the environment.

    One line a seed; with three seeds and more their median, over a band from the worst to the best.

    Args:
        curves: `seed`, `update`, `steps`, `mean_return`, a row an update.
        random_return: of an agent that acts at random.
        threshold: from which the environment counts as solved.
    """
    seeds = curves["seed"].unique()
    figure = go.Figure()
    if len(seeds) >= _FEWEST_FOR_A_BAND:
        by_update = curves.groupby("update").agg(
            steps=("steps", "median"),
            median=("mean_return", "median"),
            worst=("mean_return", "min"),
            best=("mean_return", "max"),
        )
        figure.add_scatter(x=by_update["steps"], y=by_update["worst"], line={"width": 0}, showlegend=False)
        figure.add_scatter(
            x=by_update["steps"], y=by_update["best"], line={"width": 0}, fill="tonexty", name="worst to best"
        )
        figure.add_scatter(x=by_update["steps"], y=by_update["median"], line={"color": BLUE, "width": 3}, name="median")
    else:
        for seed, colour in zip(seeds, PALETTE, strict=False):
            of_seed = curves[curves["seed"] == seed]
            figure.add_scatter(
                x=of_seed["steps"], y=of_seed["mean_return"], line={"color": colour}, name=f"seed {seed}"
            )
    figure.add_hline(y=random_return, line={"dash": "dot", "color": GREY}, annotation_text="at random")
    if threshold is not None:
        dashes = {"dash": "dash", "color": GREY}
        # On the left, where the curve of an agent that learns is still below.
        figure.add_hline(y=threshold, line=dashes, annotation_text="solved", annotation_position="top left")
    figure.update_xaxes(title="steps of the environment")
    figure.update_yaxes(title="mean return of the last 100 episodes")
    return _styled(figure)


def learning_signs(curves: pd.DataFrame) -> go.Figure:
    """Return the signs of how training went: entropy, divergence, clipped share, explained variance of the values."""
    from plotly.subplots import make_subplots

    names = {
        "entropy": "Entropy of the policy",
        "divergence": "Divergence from the old policy",
        "clipped": "Clipped share",
        "explained_variance": "Returns explained by the values",
    }
    figure = make_subplots(rows=2, cols=2, subplot_titles=list(names.values()))
    for place, name in enumerate(names):
        for seed, colour in zip(curves["seed"].unique(), PALETTE * 2, strict=False):
            of_seed = curves[curves["seed"] == seed]
            figure.add_scatter(
                x=of_seed["steps"],
                y=of_seed[name],
                line={"color": colour, "width": 1},
                name=f"seed {seed}",
                showlegend=place == 0,
                row=place // 2 + 1,
                col=place % 2 + 1,
            )
    return _styled(figure, height_px=560)


def parts_of_a_step(parts: pd.DataFrame) -> go.Figure:
    """Return the time of 1,000 steps of the environment by part, a bar a device.

    Args:
        parts: `device`, `part`, `seconds_per_1000_steps`.
    """
    figure = go.Figure(
        [
            go.Bar(x=rows["seconds_per_1000_steps"], y=rows["device"], name=part, orientation="h")
            for part, rows in parts.groupby("part", sort=False)
        ]
    )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="seconds for 1,000 steps")
    return _styled(figure, height_px=220 + 40 * parts["device"].nunique())
