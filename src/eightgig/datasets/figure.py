"""Figures for people, to be looked at in a browser."""

import json
from typing import TYPE_CHECKING

from kedro_datasets._typing import PlotlyPreview

from eightgig.core.files import write_text
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class FigureDataset(FileDataset["Figure", "Figure"]):
    """A figure of plotly as JSON; kedro-viz shows it."""

    def save(self, data: "Figure") -> None:
        """Write the figure atomically."""
        write_text(self.path, data.to_json())

    def load(self) -> "Figure":
        """Read the figure."""
        from plotly.io import from_json

        return from_json(self.path.read_text(encoding="utf-8"))

    def preview(self) -> PlotlyPreview:
        """Show the figure in kedro-viz."""
        return PlotlyPreview(json.loads(self.path.read_text(encoding="utf-8")))
