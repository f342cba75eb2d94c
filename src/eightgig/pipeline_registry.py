"""All pipelines of the project, found by their folder."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Return each case study's pipeline by its name; `__default__` is the flower classifier."""
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    if "flower_classifier" in pipelines:  # Kedro finds only the one that was asked for
        pipelines["__default__"] = pipelines["flower_classifier"]
    return pipelines
