"""Holds predictions of memory against public runs, ours beside others': `make bench-scoreboard RUNS=folder`.

Keeps every prediction in `results/scoreboard_rows.jsonl`, so that a source can be predicted alone (`--sources`), and
makes `results/scoreboard.json` and `docs/scoreboard.md` of all that is kept (`scoreboard_page.py`). No constant of a
prediction is fitted here: they are the packaged ones. `--ranges` makes the range anew that predictions come with.
"""

import argparse
import datetime
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mem_tracker import TOOL, tracked_peak
from other_runs import LIBRARIES, left_out, other_runs
from public_runs import Asked, CappedRun, MeasuredRun, capped_runs, gpumemnet_runs, measured_runs
from ranges import SHARE, ranges_of
from scoreboard_page import page_of, result_of
from scoreboard_rows import Predicted, Row, Verdict, read_kept, write_kept

from eightgig.core.device import describe_device
from eightgig.core.errors import EightgigError
from eightgig.core.units import GIB, bytes_from_gib
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.tracing.accuracy import PACKAGED, NetworkKind, load_accuracy
from eightgig.vram.tracing.predictor import Predictor

_HERE = Path(__file__).parent
_PAGE = _HERE.parent / "docs" / "scoreboard.md"
_SOURCES = ("xMem", "GPUMemNet", *LIBRARIES)
_A100_MODELS = 100
_TRACKED = 12  # runs of a source; the tracker takes longer than a prediction
_ADAM_COPIES = 4  # accelerate estimate-memory's rule for training: weights, gradients, two moments
_LIBRARIES = ("torch", "transformers", "torchtune", "diffusers", "peft", "timm")


class Answer(NamedTuple):
    """What is predicted of a run, in bytes beside the CUDA context."""

    allocated: int
    reserved: int
    needed: int
    surely_needed: int
    tensors: int
    weights: int
    kind: NetworkKind
    seconds: float


class Oracle:
    """Predicts runs, each kind once; `failed` says which could not be, and why."""

    def __init__(self, predictor: Predictor, log: Callable[[str], None]) -> None:
        self._predictor, self._log = predictor, log
        self._answers: dict[str, Answer | None] = {}
        self.failed: dict[str, str] = {}

    def __call__(self, asked: Asked) -> Answer | None:
        """Return the answer; None where the run cannot be predicted, which is said."""
        key = f"{asked.workload.model_dump_json()} {asked.options.model_dump_json()} {asked.card.name}"
        if key not in self._answers:
            try:
                self._answers[key] = self._predicted(asked)
            except EightgigError as error:
                self._log(f"{asked.name}: {error}")
                self.failed[asked.name] = str(error)
                self._answers[key] = None
        return self._answers[key]

    def _predicted(self, asked: Asked) -> Answer:
        begun = time.perf_counter()
        generation = asked.card.generation
        usable = bytes_from_gib(asked.card.memory_gib) - self._predictor.context_bytes(generation)
        made = self._predictor.predict(asked.workload, asked.options, generation=generation, usable_bytes=usable)
        trace = self._predictor.trace(asked.workload, asked.options)
        seconds = time.perf_counter() - begun
        self._log(f"{asked.name}: {made.peak_reserved / GIB:.2f} GiB")
        return Answer(
            made.peak_allocated,
            made.peak_reserved,
            made.min_memory_limit,
            made.upper_limit,
            peak_of_tensors(trace),
            made.at_peak["parameters"],
            made.kind,
            seconds,
        )

    def seconds(self) -> list[float]:
        """Return how long each prediction took."""
        return [answer.seconds for answer in self._answers.values() if answer is not None]


def peak_of_tensors(trace: AllocationTrace) -> int:
    """Return the most bytes that live tensors hold at once: what counting fake tensors alone would say."""
    sizes: dict[int, int] = {}
    held = peak = 0
    for block, num_bytes in trace.events:
        held += num_bytes if num_bytes else -sizes[block]
        sizes[block] = num_bytes
        peak = max(peak, held)
    return peak


def rows_of(runs: Iterable[MeasuredRun], oracle: Oracle) -> Iterator[Row]:
    """Yield runs with what is predicted of them."""
    for run in runs:
        asked, beside = run.asked, run.beside_bytes
        answer = oracle(asked)
        if answer is not None:
            mine = answer.allocated if run.measure == "allocated" else answer.reserved
            own = {"eightgig": mine + beside, "live tensors": answer.tensors + beside}
            adam = asked.options.optimizer in ("Adam", "AdamW")
            rule = {"accelerate estimate-memory": _ADAM_COPIES * answer.weights + beside} if adam else {}
            predicted = own | rule | run.published
            yield Row(
                asked.source, asked.name, asked.model, asked.card.name, answer.kind, run.measured_bytes, predicted
            )


def verdicts_of(runs: Iterable[CappedRun], oracle: Oracle) -> Iterator[Verdict]:
    """Yield capped runs with the smallest cap that is predicted of them."""
    for asked, cap, ran in runs:
        answer = oracle(asked)
        if answer is not None:
            yield Verdict(asked.name, cap, answer.needed, answer.surely_needed, ran)


def runs_of(source: str, folder: Path, a100_models: int) -> list[MeasuredRun]:
    """Return the runs of a source."""
    if source == "GPUMemNet":
        return list(gpumemnet_runs(folder, num_models=a100_models))
    return list(measured_runs(folder) if source == "xMem" else other_runs(folder, source))


def predicted_of(source: str, folder: Path, oracle: Oracle, a100_models: int) -> Predicted:
    """Return all that is predicted of a source, with what was predicted with, and when."""
    rows = tuple(rows_of(runs_of(source, folder, a100_models), oracle))
    capped = tuple(verdicts_of(capped_runs(folder), oracle)) if source == "xMem" else ()
    skipped = left_out(folder, source)
    cannot = {f"cannot be predicted: {name}: {_first_sentence(why)}": 1 for name, why in oracle.failed.items()}
    oracle.failed.clear()
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return Predicted(predicted_on(), today, rows, capped, skipped | cannot, tuple(oracle.seconds()))


def _first_sentence(error: str) -> str:
    return error.splitlines()[-1].partition(". ")[0]


def predicted_on() -> str:
    """Return the machine, and the libraries that are there."""
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join([describe_device("cpu"), *found])


def tracked_of(runs: Sequence[MeasuredRun], number: int, log: Callable[[str], None]) -> dict[str, int | str]:
    """Return what `MemTracker` says of some runs, which a seed draws, by name; or its kind of error.

    Runs that offload are not asked of: with all on one device there is nowhere to offload to.
    """
    possible = [run for run in runs if not run.asked.options.offload]
    chosen = random.Random(0).sample(possible, min(number, len(possible)))
    said: dict[str, int | str] = {}
    for run in chosen:
        peak = tracked_peak(run.asked.workload, run.asked.options)
        said[run.asked.name] = peak if isinstance(peak, str) else peak + run.beside_bytes
        log(f"{TOOL}, {run.asked.name}: {peak}")
    return said


def write_ranges(rows: Sequence[Row], path: Path) -> None:
    """Write the ranges that the rows give."""
    how = (
        f"{SHARE:.0%} of measured runs took no more than the predicted peak and this share of it; made by "
        "benchmarks/scoreboard.py --ranges (benchmarks/ranges.py); none of these runs recomputed activations, and one "
        "that does is taken to be of its network's kind"
    )
    path.write_text(
        json.dumps({"how": how, "kinds": ranges_of([row.judged for row in rows])}, indent=2) + "\n", encoding="utf-8"
    )
    load_accuracy.cache_clear()


def _log(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the tables of public_runs.py and other_runs.py")
    parser.add_argument("--out", type=Path, default=_HERE / "results" / "scoreboard.json")
    parser.add_argument("--kept", type=Path, default=_HERE / "results" / "scoreboard_rows.jsonl")
    parser.add_argument("--page", type=Path, default=_PAGE)
    parser.add_argument("--sources", nargs="*", default=_SOURCES, help=f"predict these and keep the others: {_SOURCES}")
    parser.add_argument("--track", nargs="*", default=(), help=f"run {TOOL} on runs of these")
    parser.add_argument("--tracked", type=int, default=_TRACKED, help="runs of a source that it is asked of")
    parser.add_argument("--a100-models", type=int, default=_A100_MODELS, help="of GPUMemNet's table, one run each")
    parser.add_argument("--ranges", action="store_true", help=f"make {PACKAGED.name} anew")
    options = parser.parse_args()
    kept = read_kept(options.kept)
    for source in options.sources:
        with Predictor() as predictor:
            made = predicted_of(source, options.folder, Oracle(predictor, _log), options.a100_models)
        tracked = kept[source].tracked if source in kept else {}
        kept[source] = made._replace(tracked=tracked)
        write_kept(kept, options.kept)
    for source in options.track:
        runs = runs_of(source, options.folder, options.a100_models)
        kept[source] = kept[source]._replace(tracked=tracked_of(runs, options.tracked, _log))
        write_kept(kept, options.kept)
    if options.ranges:
        write_ranges([row for source in kept.values() for row in source.rows if row.makes_ranges], PACKAGED)
    result = result_of(kept)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    options.page.write_text(page_of(result), encoding="utf-8")


if __name__ == "__main__":
    main()
