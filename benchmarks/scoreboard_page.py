"""The figures of the scoreboard, and its page: of all predictions that are kept (`scoreboard_rows.py`)."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mem_tracker import TOOL
from ranges import held
from scoreboard_rows import Predicted, Row, Verdict
from vram_accuracy import quantile

from eightgig.core.units import GIB
from eightgig.vram.tracing.accuracy import load_accuracy

_WORST = 12  # rows that the page names


def result_of(kept: Mapping[str, Predicted]) -> dict[str, Any]:
    """Return all figures as plain values."""
    rows = [row for source in kept.values() for row in source.with_tracked()]
    tools = list(dict.fromkeys(tool for row in rows for tool in row.predicted))
    table = {
        group: {tool: found for tool in tools if (found := errors_of(members, tool)) is not None}
        for group, members in groups_of(rows).items()
    }
    worst = sorted(rows, key=lambda row: -abs(row.error("eightgig")))[:_WORST]
    seconds = [took for source in kept.values() for took in source.seconds]
    return {
        "predicted": {name: f"{source.on}, {source.predicted_on}" for name, source in kept.items() if source.rows},
        "errors": table,
        "ranges": _ranges_held(rows),
        "worst": [[row.name, round(row.error("eightgig"), 4)] for row in worst],
        "left_out": {reason: count for source in kept.values() for reason, count in source.left_out.items()},
        "tracker": {name: _tracker(source) for name, source in kept.items() if source.tracked},
        "capped": _capped([verdict for source in kept.values() for verdict in source.capped]),
        "seconds": {"median": round(statistics.median(seconds), 2), "most": round(max(seconds), 2)} if seconds else {},
    }


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
    """Return the rows by what they have in common: each source, and in it each kind and card that is not all of it."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        source = row.source
        for name in (source, f"{source}, {row.kind}", f"{source}, {row.kind}, {row.card}"):
            groups.setdefault(name, []).append(row)
    return {
        name: members
        for name, members in groups.items()
        if all(name == other or not name.startswith(f"{other}, ") or members != groups[other] for other in groups)
    }


def _ranges_held(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the packaged ranges, and how often such a range holds for models that it is not made from."""
    above = {name: kind.above for name, kind in load_accuracy().kinds.items()}
    return {"above": above, "held": held(row.judged for row in rows if row.makes_ranges)}


def _tracker(source: Predicted) -> dict[str, Any]:
    failed = Counter(said for said in source.tracked.values() if isinstance(said, str))
    return {"asked": len(source.tracked), "failed": dict(failed)}


def _capped(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    wrong = [verdict for verdict in verdicts if verdict.fits != verdict.ran]
    return {
        "runs": len(verdicts),
        "right": round(1 - len(wrong) / len(verdicts), 4) if verdicts else None,
        "said_fits_and_died": sum(verdict.fits for verdict in wrong),
        "refused_and_ran": sum(not verdict.fits for verdict in wrong),
        "said_to_fit_surely": sum(verdict.surely_fits for verdict in verdicts),
        "said_to_fit_surely_and_died": sum(verdict.surely_fits and not verdict.ran for verdict in verdicts),
        "wrong": [f"{verdict.name}: cap {verdict.cap / GIB:.2f} GiB" for verdict in wrong],
    }


def page_of(result: dict[str, Any]) -> str:
    """Return the page, in Markdown."""
    lines = [
        "# Scoreboard",
        "",
        "Predictions of training memory against public runs that others measured. Made by `make bench-scoreboard`;",
        "no constant is fitted on these rows. Sources, and what counts as a fair row: `benchmarks/public_runs.py`,",
        "`benchmarks/other_runs.py`. Error: predicted over measured peak, less 1; xMem's beside the CUDA context,",
        "GPUMemNet's and transformers' of the whole process, the others' of the same counter of torch.",
        "",
        *_table(("predicted", "on, with"), result["predicted"].items()),
        "",
        *_errors(result["errors"]),
        "",
        *_tools(result["tracker"]),
        *_left_out(result["left_out"]),
        *_stated_range(result["ranges"]),
        *_fits(result["capped"]),
        "The largest errors:",
        "",
        *_table(("run", "error"), ((name, f"{100 * error:+.1f} %") for name, error in result["worst"])),
        "",
    ]
    if seconds := result["seconds"]:
        lines += [f"A prediction took {seconds['median']} s in the median, {seconds['most']} s at most.", ""]
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Any) -> list[str]:
    cells = [heads, ["---"] * len(heads), *rows]
    return [
        f"|{'|'.join(row)}|" if row[0] == "---" else f"| {' | '.join(str(cell) for cell in row)} |" for row in cells
    ]


def _errors(errors: dict[str, Any]) -> list[str]:
    rows = []
    for group, tools in errors.items():
        for tool, found in sorted(tools.items(), key=lambda item: item[1]["median"]):
            figures = [f"{100 * found[name]:.1f} %" for name in ("median", "p90", "signed")]
            rows.append((group, f"**{tool}**" if tool == "eightgig" else tool, found["rows"], *figures))
    return _table(("rows", "tool", "number", "median", "90th percentile", "median, signed"), rows)


def _tools(tracker: dict[str, Any]) -> list[str]:
    lines = [
        "`live tensors` counts fake tensors alone; `accelerate estimate-memory` is its rule of four times the weights.",
        "The predictions of xMem, DNNMem, SchedTune and LLMem are those that the source publishes with its rows.",
        "Runs with torch.compile are predicted as they run without, which the planner says, or refuses.",
    ]
    for source, found in tracker.items():
        failed = ", ".join(f"{kind} ({count})" for kind, count in found["failed"].items()) or "none"
        lines.append(f"`{TOOL}` was run on {found['asked']} rows of {source} that a seed drew; it failed on: {failed}.")
    return [*lines, ""]


def _left_out(reasons: dict[str, int]) -> list[str]:
    if not reasons:
        return []
    return ["**Rows that are not predicted**, and why:", "", *_table(("reason", "rows"), reasons.items()), ""]


def _stated_range(ranges: dict[str, Any]) -> list[str]:
    above = ", ".join(f"{name} {100 * share:.1f} %" for name, share in ranges["above"].items())
    rows = ((name, found["rows"], f"{100 * found['held']:.1f} %") for name, found in ranges["held"].items())
    return [
        f"**The stated range** (how far above a prediction 95 % of runs stay: {above}).",
        "How often such a range holds for models that it is not made from (made of half of the models, held against",
        "the other half, a hundred times):",
        "",
        *_table(("rows", "number", "below the upper end"), rows),
        "",
    ]


def _fits(capped: dict[str, Any]) -> list[str]:
    if not capped["runs"]:
        return []
    return [
        f"**Does it fit under a cap?** {capped['runs']} capped runs: right for {100 * capped['right']:.1f} %; "
        f"{capped['said_fits_and_died']} were said to fit and died, {capped['refused_and_ran']} were refused and ran.",
        f"By the upper end of the range, which plans keep to, {capped['said_to_fit_surely']} fit, and "
        f"{capped['said_to_fit_surely_and_died']} of these died.",
        "",
    ]
