"""Holds predictions of memory against public runs, ours beside others': `make bench-scoreboard RUNS=folder`.

Writes `results/scoreboard.json` and `docs/scoreboard.md`. No constant of a prediction is fitted here: they are the
packaged ones. The range that predictions come with is made anew with `--ranges`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from public_runs import Asked, CappedRun, MeasuredRun, capped_runs, gpumemnet_runs, measured_runs
from ranges import SHARE, Judged, held, ranges_of
from vram_accuracy import quantile

from eightgig.core.device import describe_device
from eightgig.core.errors import EightgigError
from eightgig.core.units import GIB, bytes_from_gib
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.tracing.accuracy import PACKAGED, NetworkKind, load_accuracy
from eightgig.vram.tracing.predictor import Predictor

_HERE = Path(__file__).parent
_PAGE = _HERE.parent / "docs" / "scoreboard.md"
_WORST = 12  # rows that the page names
_A100_MODELS = 100
_ADAM_COPIES = 4  # accelerate estimate-memory's rule for training: weights, gradients, two moments


class Answer(NamedTuple):
    """What is predicted of a run, in bytes beside the CUDA context."""

    reserved: int
    needed: int
    surely_needed: int
    tensors: int
    weights: int
    kind: NetworkKind
    seconds: float


class Row(NamedTuple):
    """A measured run with all that was predicted of it, by tool."""

    asked: Asked
    kind: NetworkKind
    measured: int
    predicted: dict[str, int]

    @property
    def judged(self) -> Judged:
        """The run beside our prediction of it."""
        return Judged(self.asked.source, self.asked.model, self.kind, self.measured, self.predicted["eightgig"])

    def error(self, tool: str) -> float:
        """Return the signed share by which a tool's prediction is off."""
        return self.predicted[tool] / self.measured - 1


class Verdict(NamedTuple):
    """Whether a run was said to fit under a cap, and whether it ran."""

    asked: Asked
    cap: int
    needed: int
    surely_needed: int
    ran: bool

    @property
    def fits(self) -> bool:
        """What was said by the middle of the prediction."""
        return self.needed <= self.cap

    @property
    def surely_fits(self) -> bool:
        """What was said by its upper end, which plans keep to."""
        return self.surely_needed <= self.cap


class Oracle:
    """Predicts runs, each kind once."""

    def __init__(self, predictor: Predictor, log: Callable[[str], None]) -> None:
        self._predictor, self._log = predictor, log
        self._answers: dict[str, Answer | None] = {}

    def __call__(self, asked: Asked) -> Answer | None:
        """Return the answer; None where the run cannot be predicted, which is said."""
        generation = asked.card.generation
        key = f"{asked.workload.model_dump_json()} {asked.options.model_dump_json()} {asked.card.name}"
        if key not in self._answers:
            begun = time.perf_counter()
            try:
                usable = bytes_from_gib(asked.card.memory_gib) - self._predictor.context_bytes(generation)
                made = self._predictor.predict(
                    asked.workload, asked.options, generation=generation, usable_bytes=usable
                )
                trace = self._predictor.trace(asked.workload, asked.options)
            except EightgigError as error:
                self._log(f"{asked.name}: {error}")
                self._answers[key] = None
            else:
                seconds = time.perf_counter() - begun
                self._answers[key] = Answer(
                    made.peak_reserved,
                    made.min_memory_limit,
                    made.upper_limit,
                    peak_of_tensors(trace),
                    made.at_peak["parameters"],
                    made.kind,
                    seconds,
                )
                self._log(f"{asked.name}: {made.peak_reserved / GIB:.2f} GiB")
        return self._answers[key]

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
    for asked, measured, published, beside in runs:
        answer = oracle(asked)
        if answer is not None:
            own = {"eightgig": answer.reserved + beside, "live tensors": answer.tensors + beside}
            adam = asked.options.optimizer in ("Adam", "AdamW")
            rule = {"accelerate estimate-memory": _ADAM_COPIES * answer.weights + beside} if adam else {}
            yield Row(asked, answer.kind, measured, own | rule | published)


def verdicts_of(runs: Iterable[CappedRun], oracle: Oracle) -> Iterator[Verdict]:
    """Yield capped runs with the smallest cap that is predicted of them."""
    for asked, cap, ran in runs:
        answer = oracle(asked)
        if answer is not None:
            yield Verdict(asked, cap, answer.needed, answer.surely_needed, ran)


def errors_of(rows: Sequence[Row], tool: str) -> dict[str, Any] | None:
    """Return median and 90th percentile of a tool's errors over the rows that it has; None where it has none."""
    errors = [row.error(tool) for row in rows if tool in row.predicted]
    if not errors:
        return None
    sizes = [abs(error) for error in errors]
    return {
        "rows": len(errors),
        "median": round(statistics.median(sizes), 4),
        "p90": round(quantile(sizes, 0.9), 4),
        "signed": round(statistics.median(errors), 4),
    }


def groups_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by what they have in common: each source, and in it each kind and card."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        source = row.asked.source
        for name in (source, f"{source}, {row.kind}", f"{source}, {row.kind}, {row.asked.card.name}"):
            groups.setdefault(name, []).append(row)
    return groups


def ranges_held(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the packaged ranges, and how often such a range holds for models that it is not made from."""
    above = {name: kind.above for name, kind in load_accuracy().kinds.items()}
    return {"above": above, "held": held(row.judged for row in rows)}


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


def result_of(rows: Sequence[Row], verdicts: Sequence[Verdict], seconds: Sequence[float]) -> dict[str, Any]:
    """Return all figures as plain values."""
    tools = list(dict.fromkeys(tool for row in rows for tool in row.predicted))
    table = {
        group: {tool: found for tool in tools if (found := errors_of(members, tool)) is not None}
        for group, members in groups_of(rows).items()
    }
    worst = sorted(rows, key=lambda row: -abs(row.error("eightgig")))[:_WORST]
    wrong = [verdict for verdict in verdicts if verdict.fits != verdict.ran]
    return {
        "predicted_on": f"{describe_device('cpu')}, torch {version('torch')}, transformers {version('transformers')}",
        "errors": table,
        "ranges": ranges_held(rows),
        "worst": [[row.asked.name, round(row.error("eightgig"), 4)] for row in worst],
        "rows": [[row.asked.source, row.asked.name, row.kind, round(row.error("eightgig"), 4)] for row in rows],
        "capped": {
            "runs": len(verdicts),
            "right": round(1 - len(wrong) / len(verdicts), 4) if verdicts else None,
            "said_fits_and_died": sum(verdict.fits for verdict in wrong),
            "refused_and_ran": sum(not verdict.fits for verdict in wrong),
            "said_to_fit_surely": sum(verdict.surely_fits for verdict in verdicts),
            "said_to_fit_surely_and_died": sum(verdict.surely_fits and not verdict.ran for verdict in verdicts),
            "wrong": [f"{verdict.asked.name}: cap {verdict.cap / GIB:.2f} GiB" for verdict in wrong],
        },
        "seconds": {"median": round(statistics.median(seconds), 2), "most": round(max(seconds), 2)} if seconds else {},
    }


def page_of(result: dict[str, Any]) -> str:
    """Return the page, in Markdown."""
    lines = [
        "# Scoreboard",
        "",
        "Predictions of training memory against public runs that others measured. Made by `make bench-scoreboard`",
        f"(predictions: {result['predicted_on']}); no constant is fitted on",
        "these rows. Sources, and what counts as a fair row: `benchmarks/public_runs.py`. Error: predicted over",
        "measured peak, less 1; xMem's beside the CUDA context, GPUMemNet's of the whole process.",
        "",
        "| rows | tool | number | median | 90th percentile | median, signed |",
        "|---|---|---|---|---|---|",
    ]
    for group, tools in result["errors"].items():
        for tool, found in sorted(tools.items(), key=lambda item: item[1]["median"]):
            shown = f"**{tool}**" if tool == "eightgig" else tool
            figures = " | ".join(f"{100 * found[name]:.1f} %" for name in ("median", "p90", "signed"))
            lines.append(f"| {group} | {shown} | {found['rows']} | {figures} |")
    above = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result["ranges"]["above"].items())
    lines += [
        "",
        f"**The stated range** (how far above a prediction 95 % of runs stay: {above}).",
        "How often such a range holds for models that it is not made from (made of half of the models, held against",
        "the other half, a hundred times):",
        "",
        "| rows | number | below the upper end |",
        "|---|---|---|",
        *(
            f"| {name} | {found['rows']} | {100 * found['held']:.1f} % |"
            for name, found in result["ranges"]["held"].items()
        ),
    ]
    capped = result["capped"]
    lines += [
        "",
        "`live tensors` counts fake tensors alone; `accelerate estimate-memory` is its rule of four times the weights.",
        "The predictions of xMem, DNNMem, SchedTune and LLMem are those that the source publishes with its rows.",
        "",
        f"**Does it fit under a cap?** {capped['runs']} capped runs: right for {100 * capped['right']:.1f} %; "
        f"{capped['said_fits_and_died']} were said to fit and died, {capped['refused_and_ran']} were refused and ran.",
        f"By the upper end of the range, which plans keep to, {capped['said_to_fit_surely']} fit, and "
        f"{capped['said_to_fit_surely_and_died']} of these died.",
        "",
        "The largest errors:",
        "",
        "| run | error |",
        "|---|---|",
        *(f"| {name} | {100 * error:+.1f} % |" for name, error in result["worst"]),
        "",
        f"A prediction took {result['seconds']['median']} s in the median, {result['seconds']['most']} s at most.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with xmem_runs.csv and xmem_capped_runs.csv")
    parser.add_argument("--out", type=Path, default=_HERE / "results" / "scoreboard.json")
    parser.add_argument("--page", type=Path, default=_PAGE)
    parser.add_argument("--a100-models", type=int, default=_A100_MODELS, help="of GPUMemNet's table, one run each")
    parser.add_argument("--ranges", action="store_true", help=f"make {PACKAGED.name} anew")
    options = parser.parse_args()
    with Predictor() as predictor:
        oracle = Oracle(predictor, lambda line: print(line, flush=True))
        runs = (*measured_runs(options.folder), *gpumemnet_runs(options.folder, num_models=options.a100_models))
        rows = list(rows_of(runs, oracle))
        if options.ranges:
            write_ranges(rows, PACKAGED)
        verdicts = list(verdicts_of(capped_runs(options.folder), oracle))
        result = result_of(rows, verdicts, oracle.seconds())
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    options.page.write_text(page_of(result), encoding="utf-8")


if __name__ == "__main__":
    main()
