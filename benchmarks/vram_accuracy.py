"""Holds the memory predictor against measured training runs of timm models: `make bench-vram RUNS=runs.csv`.

The runs (GPUMemNet, itu-rad/GPUMemNet at f01eb05, with timm's training script): NVIDIA A100 40 GB, float32 (TF32 in
convolutions), SGD with momentum, label smoothing, one process; the figure is the peak of the whole process as the
driver says. A seeded sample of models is predicted; the constants that the runs' process needs (its context, cuDNN's
staging) are fitted on models outside of the sample alone, or read from a file of an earlier fit.
"""

import argparse
import itertools
import json
import pickle
import random
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpu_memory_runs import Row, read_runs

from eightgig.core.device import describe_device
from eightgig.core.errors import EightgigError
from eightgig.core.units import MIB
from eightgig.vram.allocator.replay import min_memory_limit, replay
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import WorkspaceMemory, load_calibration, with_workspace

# What torch finds on an A100 of 40 GB (39.59 GiB in its out-of-memory messages).
CAPACITY_MIB = 39.59 * 1024
# timm's loader fills the next batch while one is trained on, and the loop holds the last: two beside the one in use.
PREFETCHED_BATCHES = 2
# What is tried in the fit: cuDNN's staging in forward passes, backward passes, of kernels of size 1, of wide groups.
_STAGING = tuple(itertools.product((0.0, 0.5, 1.0), (1.0, 1.5), (0.0, 0.5), (0.0, 1.0, 2.0)))
_OVERHEADS_MIB = range(1500, 1950, 10)


class Constants(NamedTuple):
    """What is fitted: the process beside its tensors, and cuDNN's staging as multiples of input and output."""

    overhead_mib: int
    conv_forward: float
    conv_backward: float
    conv_pointwise: float
    conv_grouped: float


class Predicted(NamedTuple):
    """One row with its prediction, MiB of the whole process."""

    row: Row
    reserved_mib: float
    needed_mib: float
    seconds: float


def timm_workload(name: str) -> tuple[Any, Any, Any]:
    """Return a timm model with its training size and the runs' loss, for the child process."""
    import timm
    import torch
    from timm.loss.cross_entropy import LabelSmoothingCrossEntropy

    model: Any = timm.create_model(name)
    channels, height, width = model.pretrained_cfg["input_size"]
    criterion = LabelSmoothingCrossEntropy(0.1)

    def batch(size: int) -> Any:
        return torch.randn(size, channels, height, width), torch.zeros(size, dtype=torch.int64)

    return model, lambda module, made: criterion(module(made[0]), made[1]), batch


class Tracer:
    """Traces rows, and keeps the traces in a folder."""

    def __init__(self, predictor: Predictor, folder: Path | None) -> None:
        self._predictor, self._folder = predictor, folder

    def trace(self, row: Row) -> tuple[Any, float] | None:
        """Return a row's trace and the seconds it took; None where the model cannot be traced."""
        kept = None if self._folder is None else self._folder / f"{row.model}-{row.batch_size}.pickle"
        if kept is not None and kept.exists():
            found: tuple[Any, float] = pickle.loads(kept.read_bytes())  # noqa: S301  written below
            return found
        begun = time.perf_counter()
        try:
            trace = self._predictor.trace(timm_spec(row), timm_options(row))
        except EightgigError as error:
            print(f"{row.model}: {error}", file=sys.stderr)
            return None
        made = trace, time.perf_counter() - begun
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(pickle.dumps(made))
        return made


def timm_spec(row: Row) -> WorkloadSpec:
    """Return what a row's run trained."""
    return WorkloadSpec(factory="vram_accuracy:timm_workload", options={"name": row.model})


def timm_options(row: Row) -> StepOptions:
    """Return how it trained."""
    return StepOptions(
        micro_batch=row.batch_size, optimizer="sgd", clips_gradients=False, prefetched_batches=PREFETCHED_BATCHES
    )


def workspace_of(constants: Constants) -> WorkspaceMemory:
    """Return an Ampere card's constants with the fitted ones in their places."""
    ampere = load_calibration().of("ampere")
    values = {
        "conv_forward_staging": constants.conv_forward,
        "conv_backward_staging": constants.conv_backward,
        "conv_pointwise_staging": constants.conv_pointwise,
        "conv_grouped_staging": constants.conv_grouped,
    }
    return ampere.model_copy(
        update={name: getattr(ampere, name).model_copy(update={"value": value}) for name, value in values.items()}
    )


def predict(rows: Iterable[Row], tracer: Tracer, constants: Constants) -> Iterator[Predicted]:
    """Yield the predictions of rows."""
    workspace = workspace_of(constants)
    for row in rows:
        traced = tracer.trace(row)
        if traced is None:
            continue
        begun = time.perf_counter()
        trace = with_workspace(traced[0], workspace)
        reserved = replay(trace.events).peak_reserved
        cap = min_memory_limit(trace.events, dispensable=trace.dispensable)
        seconds = traced[1] + time.perf_counter() - begun
        yield Predicted(row, reserved / MIB + constants.overhead_mib, cap / MIB + constants.overhead_mib, seconds)


def fit(rows: list[Row], tracer: Tracer) -> Constants:
    """Return the constants of least error: the median and a quarter of the 90th percentile, so that both count."""
    best: tuple[float, Constants] | None = None
    traces = [(row, traced[0]) for row in rows if (traced := tracer.trace(row)) is not None]
    for staging in _STAGING:
        workspace = workspace_of(Constants(0, *staging))
        reserved = [replay(with_workspace(trace, workspace).events).peak_reserved / MIB for _, trace in traces]
        for overhead in _OVERHEADS_MIB:
            errors = [
                abs(mib + overhead - row.measured_mib) / row.measured_mib
                for mib, (row, _) in zip(reserved, traces, strict=True)
            ]
            score = statistics.median(errors) + quantile(errors, 0.9) / 4
            if best is None or score < best[0]:
                best = score, Constants(overhead, *staging)
    if best is None:
        raise SystemExit("no row to fit the constants on")
    return best[1]


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that a share of the values lies below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(predictions: list[Predicted], constants: Constants, excluded: list[Row]) -> dict[str, Any]:
    """Return the figures: errors of whole runs, and how often "fits" was right."""
    whole = [p for p in predictions if p.row.verdict == "whole run"]
    errors = {f"{p.row.model}, {p.row.batch_size}": p.reserved_mib / p.row.measured_mib - 1 for p in whole}
    sizes = [abs(error) for error in errors.values()]
    wrong = [p for p in predictions if (p.needed_mib <= CAPACITY_MIB) != (p.row.verdict == "whole run")]
    seconds = [p.seconds for p in predictions]
    return {
        "measured_on": "NVIDIA A100 40 GB, float32, SGD, timm's training script (GPUMemNet)",
        "predicted_on": describe_device("cpu"),
        "constants": constants._asdict(),
        "whole_runs": len(whole),
        "models": len({p.row.model for p in whole}),
        "median_error": round(statistics.median(sizes), 4),
        "mean_error": round(statistics.fmean(sizes), 4),
        "p90_error": round(quantile(sizes, 0.9), 4),
        "median_signed_error": round(statistics.median(errors.values()), 4),
        "fits_judged": len(predictions),
        "fits_right": round(1 - len(wrong) / len(predictions), 4),
        "fits_wrong": [f"{p.row.model}, {p.row.batch_size}: {p.row.verdict}, {p.needed_mib:.0f} MiB" for p in wrong],
        "seconds_median": round(statistics.median(seconds), 2),
        "seconds_p95": round(quantile(seconds, 0.95), 2),
        "worst": {name: round(errors[name], 3) for name in sorted(errors, key=lambda n: -abs(errors[n]))[:20]},
        "excluded": [f"{row.model}, {row.batch_size}: {row.reason}" for row in excluded],
    }


def choose(runs: dict[str, list[Row]], num_models: int, per_model: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Return the sample's rows and all rows of other models, in an order that the seed decides."""
    shuffled = random.Random(seed).sample(sorted(runs), len(runs))
    sample, rest = shuffled[:num_models], shuffled[num_models:]
    picked = [row for model in sample for row in random.Random(f"{seed} {model}").sample(runs[model], per_model)]
    return picked, [row for model in rest for row in runs[model]]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="CSV: timm_model, batch_size, max_gpu_memory_mib")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--batches", type=int, default=3, help="rows of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit-rows", type=int, default=120, help="whole runs of other models to fit on")
    parser.add_argument("--constants", type=Path, help="a result of an earlier run, instead of a fit")
    parser.add_argument("--traces", type=Path, help="folder that keeps traces")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    picked, rest = choose(read_runs(options.runs, CAPACITY_MIB), options.models, options.batches, options.seed)
    with Predictor() as predictor:
        tracer = Tracer(predictor, options.traces)
        if options.constants:
            constants = Constants(**json.loads(options.constants.read_text(encoding="utf-8"))["constants"])
        else:
            outside = [row for row in rest if row.verdict == "whole run"]
            constants = fit(random.Random(options.seed).sample(outside, options.fit_rows), tracer)
        judged = [row for row in picked if row.verdict != "excluded"]
        result = report(
            list(predict(judged, tracer, constants)), constants, [row for row in picked if row.verdict == "excluded"]
        )
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
