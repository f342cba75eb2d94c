"""What the report shows of a regression: its numbers against the true ones, and the worst of them."""

from collections.abc import Mapping
from typing import Any

from eightgig.data.ingest.sources import RawImages
from eightgig.report.page import Chart, Fact, Facts, Gallery, Image, Section
from eightgig.report.page import Table as PageTable
from eightgig.stages.annotations import Figure, ImageStore, Table
from eightgig.stages.trained import indices_of
from eightgig.tasks.image_regression.parameters import RECORDS


class RegressionResults:
    """A regression's part of the page (see `eightgig.stages.report.Results`)."""

    records, unit, figures = RECORDS, "image", ("scatter",)
    drawn_from = {"predictions": "predictions_table"}  # noqa: RUF012
    shown = {"metrics": "metrics", "predictions": "predictions_table"}  # noqa: RUF012

    def draw(self, predictions: Table) -> tuple[Figure]:
        """Return the predicted numbers over the true ones."""
        import plotly.express as px

        return (px.scatter(predictions, x="value", y="found", hover_name="path", template="none"),)

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the mean absolute error, beside that of always saying the mean."""
        metrics = shown["metrics"]
        note = f"always saying the mean: {metrics.mae_of_mean:.4g}"
        return Fact(f"MAE on {metrics.num_images} held-out images", f"{metrics.mae:.4g}", note, mark="good")

    def data(self, raw: RawImages, rejects: Table, store: ImageStore, splits: Table, shown: Any) -> Section:  # noqa: ARG002
        """Show what the network learned from."""
        kept = {split: store.values[indices_of(splits, split)] for split in ("train", "val", "test")}
        rows = [(split, len(values), values.min(), values.mean(), values.max()) for split, values in kept.items()]
        refused = PageTable.from_frame(rejects.head(20), caption=f"{len(rejects)} images were refused or remarked on")
        prose = f"{raw.origin}: {len(store):,} images, each with its {store.classes[0]}. Copies stay together."
        return Section(
            "What was trained on what", prose, [PageTable(("split", "images", "least", "mean", "most"), rows), refused]
        )

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how good the network is."""
        facts = [Fact(name, f"{value:.4g}") for name, value in shown["metrics"].model_dump().items()]
        scatter = Chart(shown["scatter_figure"], "Predicted over true")
        return [Section("Results on held-out images", "Test images, used for nothing else.", [Facts(facts), scatter])]

    def images(self, store: ImageStore, shown: Mapping[str, Any]) -> list[Section]:
        """Show the worst predictions."""
        worst = [
            Image.from_array(store.decode(row[0]), f"{row.found:.4g}", note=f"is {row.value:.4g}")
            for row in shown["predictions"].head(12).itertuples(index=False, name="Row")
        ]
        return [Section("Largest errors", "", [Gallery(worst)])]
