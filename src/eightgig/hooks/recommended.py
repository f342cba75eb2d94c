"""The forms of a network that a benchmark recommends, as MLflow lists them among a run's logged models."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DataCatalog

from eightgig.tracking.events import LoggedModel

if TYPE_CHECKING:
    import pandas as pd

_TOLD = ("runtime", "precision", "device")
_MEASURED = {"latency_p50_ms": "latency_ms", "size_mib": "size_mib"}


def recommended_models(
    case: str, benchmark: "pd.DataFrame", catalog: DataCatalog
) -> Iterator[tuple[LoggedModel, Path]]:
    """Yield each recommended form of which there is a file, one a device, with that file."""
    if not {"recommended", "variant", "score", "score_name", *_TOLD, *_MEASURED} <= set(benchmark.columns):
        return
    for row in benchmark[benchmark["recommended"]].to_dict("records"):
        path = next((path for path in _files(case, row["variant"], catalog) if path.is_file()), None)
        if path is not None:
            yield _told(row), path


def _told(row: dict[Any, Any]) -> LoggedModel:
    device = str(row["device"]).partition(":")[0]
    measured = {row["score_name"]: row["score"], **{short: row[field] for field, short in _MEASURED.items()}}
    numbers = {name: float(value) for name, value in measured.items() if not math.isnan(value)}
    return LoggedModel(
        name=row["variant"],
        model_type=str(row["runtime"]),
        params={field: str(row[field]) for field in _TOLD},
        # A run lists a model's figures among its own: under their plain names they would stand in its curves.
        metrics={f"recommended_{device}/{name}": number for name, number in numbers.items()},
    )


def _files(case: str, variant: str, catalog: DataCatalog) -> Iterator[Path]:
    """Yield where the file of a variant may lie; the same ONNX file runs on a CPU and on a GPU."""
    name = variant.removesuffix("_cuda")
    if variant.startswith("torch"):
        yield _path(f"{case}.weights", catalog)
    elif variant.startswith("engine"):
        yield _path(f"{case}.engines", catalog) / f"{variant}.engine"
    else:
        yield _path(f"{case}.{name}", catalog)
        yield _path(f"{case}.compressed_onnx", catalog) / f"{name.removeprefix('onnx_')}.onnx"


def _path(dataset_name: str, catalog: DataCatalog) -> Path:
    dataset: Any = catalog.get(dataset_name) if dataset_name in catalog else None
    return Path(str(getattr(dataset, "_filepath", None) or "nowhere"))
