"""The report's section on memory: what was planned, what came of it, and the tables behind its two figures."""

from collections.abc import Iterable, Iterator

from eightgig.core.units import format_bytes, gib
from eightgig.report.annotations import Figure, Table
from eightgig.report.memory_metrics import comparable_error, is_comparable
from eightgig.report.page import Chart, Fact, Facts, Folded, Section
from eightgig.report.page import Table as PageTable
from eightgig.vram.cards.catalog import cards
from eightgig.vram.plan import CATEGORIES, CandidateResult, MemoryPlan, PhaseMemory, StepConfig
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.trace import PhaseComparison, VramTrace

_CHECKPOINTING = {"none": "nothing", "selective": "what is cheap", "full": "whole blocks"}
_MOST_LAYERS = 8
_ON_CPU = (
    "This run was on the CPU, where only the growth of the whole process can be measured, libraries and caches "
    "included: it does not test the prediction. Memory is kept after training, so later phases include it."
)


def timeline_table(plan: MemoryPlan) -> Table:
    """Return the rows `done, phase` and GiB by category that the figure of one step wants."""
    import pandas as pd

    rows = [(sample.done, sample.phase, *map(gib, sample.parts.values())) for sample in plan.timeline]
    return pd.DataFrame(rows, columns=["done", "phase", *CATEGORIES])


def measured_peak_gib(trace: VramTrace) -> float | None:
    """Return what training held at most, where it can be held against the prediction."""
    seen = [phase.measured for phase in trace.phases if phase.phase == "train" and is_comparable(phase.measured)]
    return gib(seen[0].peak_bytes) if seen else None


def phases_table(plan: MemoryPlan, trace: VramTrace, export: MeasuredPhase) -> Table:
    """Return the rows `phase, part, gib, kind` that the figure by phase wants."""
    import pandas as pd

    predicted = [
        (_phase_name(phase, plan), category, gib(size), "predicted")
        for phase in plan.predicted
        for category, size in phase.parts.items()
    ]
    measured = [
        (_phase_name(plan.phase(seen.phase), plan), _measured_words(seen.measured), gib(seen.measured.peak_bytes))
        for seen in _compared(plan, trace, export)
    ]
    rows = predicted + [(*row, "measured") for row in measured]
    return pd.DataFrame(rows, columns=["phase", "part", "gib", "kind"])


def memory_section(
    plan: MemoryPlan, trace: VramTrace, export: MeasuredPhase, history: Table, *, step: Figure, phases: Figure
) -> Section:
    """Show what the plan promised, what was measured, and what else was looked at."""
    sentence = plan.sentence()
    prose = [f"{sentence[0].upper()}{sentence[1:]}.", *_recovery_words(plan, trace)]
    found = [(finding.code, finding.message) for finding in (*plan.findings, *trace.findings)]
    return Section(
        "The memory plan",
        "\n\n".join(prose + ([_ON_CPU] if plan.device == "cpu" else [])),
        [
            _decided(plan, trace, history),
            *([PageTable(("code", "finding"), found, "Findings")] if found else []),
            *_recoveries(trace),
            *([Chart(step, _step_caption(plan))] if plan.timeline else []),
            Chart(phases, "The peak of each phase: predicted, measured, and the budget"),
            *_details(plan, trace, export),
        ],
    )


def _decided(plan: MemoryPlan, trace: VramTrace, history: Table) -> Facts:
    margin = format_bytes(abs(plan.margin_bytes))
    context = f"less {format_bytes(plan.context_bytes)} of CUDA context" if plan.context_bytes else ""
    return Facts(
        [
            Fact(
                "verdict",
                plan.verdict,
                f"{margin} to spare" if plan.margin_bytes >= 0 else f"short of {margin}",
                "good" if plan.fits else "bad",
            ),
            Fact(
                "planned for",
                format_bytes(plan.needed_bytes),
                f"of {format_bytes(plan.budget_bytes)} usable; {format_bytes(plan.expected_bytes)} expected",
            ),
            Fact("card", f"{plan.budget_gib:g} GiB", context),
            Fact("micro-batches", _batches(plan), f"effective batch {plan.effective_batch}"),
            Fact("validation batch", plan.eval_batch),
            Fact("precision", plan.precision, plan.numerics.sentence() if plan.device == "cuda" else ""),
            *_scale(plan, history),
            Fact("recomputed", _CHECKPOINTING[plan.activation_checkpointing]),
            Fact("optimizer", _optimizer(plan), "in the backward pass" if plan.optimizer_in_backward else ""),
            Fact("ran on", plan.device_name),
            *_cache(plan, trace),
            *_times(plan, history),
        ]
    )


def _scale(plan: MemoryPlan, history: Table) -> Iterator[Fact]:
    """Yield how the loss of fp16 training was scaled, and how many steps were skipped for it."""
    if plan.loss_scale is None:
        return
    last, skipped = history["loss_scale"].iloc[-1], int(history["skipped_steps"].sum())
    scale = plan.loss_scale if plan.loss_scale == "dynamic" else f"{plan.loss_scale:g}, constant"
    yield Fact("loss scale", scale, f"{last:g} at the end, {skipped} steps skipped")


def _cache(plan: MemoryPlan, trace: VramTrace) -> Iterator[Fact]:
    """Yield what it cost and brought to give back the allocator's cache."""
    cleared = trace.cache_clearings
    if not plan.empty_cache_every:
        return
    each = max(1, cleared.count)
    figures = f"{_duration(cleared.seconds / each)} and {format_bytes(cleared.given_back_bytes // each)} each time"
    yield Fact("cache given back", f"every {plan.empty_cache_every} steps", f"{cleared.count} times: {figures}")


def _optimizer(plan: MemoryPlan) -> str:
    # The 8-bit one has a kernel of its own library, which is neither of torch's.
    return plan.optimizer if plan.optimizer == "adamw8bit" else f"{plan.optimizer}, {plan.optimizer_kernel}"


def _times(plan: MemoryPlan, history: Table) -> Iterator[Fact]:
    """Yield a step's predicted and measured time, each where it is known."""
    if plan.seconds_per_step is not None:
        limit = f", limited by {plan.bottleneck}" if plan.bottleneck else ""
        yield Fact("a step, predicted", _duration(plan.seconds_per_step), f"on the {plan.card}, by a roofline{limit}")
    measured = _measured_seconds_per_step(plan, history)
    if measured is not None:
        yield Fact("a step, measured", _duration(measured), _against_prediction(plan, measured))


def _measured_seconds_per_step(plan: MemoryPlan, history: Table) -> float | None:
    """Return the median of the epochs, without the first, which warms up, where there are more."""
    rates = history["samples_per_second"].iloc[1 if len(history) > 1 else 0 :].median()
    return plan.effective_batch / float(rates) if rates > 0 else None


def _against_prediction(plan: MemoryPlan, measured_seconds: float) -> str:
    if plan.seconds_per_step is None:
        return ""
    if plan.device == "cpu":
        return f"on the CPU: cannot be compared with the {plan.card}"
    if not _ran_on_planned_card(plan):
        return f"on another card: cannot be compared with the {plan.card}"
    error = plan.seconds_per_step / measured_seconds - 1
    return f"the prediction is off by {error:+.0%}; waiting for the loader is measured too"


def _ran_on_planned_card(plan: MemoryPlan) -> bool:
    known = {name for card in cards() if card.name == plan.card for name in card.nvml_names}
    return plan.device_name in known | {plan.card}


def _recovery_words(plan: MemoryPlan, trace: VramTrace) -> list[str]:
    if not trace.recovered:
        return []
    times = "once" if len(trace.recovered) == 1 else f"{len(trace.recovered)} times"
    return [
        f"Memory ran out {times} all the same, and the run went on at the same effective batch of "
        f"{plan.effective_batch}: it ended with micro-batch {trace.final_micro_batch} x {trace.final_accumulation} "
        f"accumulation, and validation with {trace.final_eval_batch} samples at a time."
    ]


def _recoveries(trace: VramTrace) -> Iterator[PageTable]:
    rows = [(r.phase, r.step, r.failed_batch, r.batch, r.diagnosis.sentence) for r in trace.recovered]
    columns = ("phase", "steps done", "samples at a time", "from then on", "why")
    if rows:
        yield PageTable(columns, rows, "Where memory ran out and the run went on")


def _step_caption(plan: MemoryPlan) -> str:
    """Return what is drawn: of many micro-batches the first, whose gradients are new, and one more."""
    drawn = (
        f"; 2 of its {plan.gradient_accumulation_steps} micro-batches are drawn"
        if plan.gradient_accumulation_steps > 2
        else ""
    )
    return f"Who holds the memory over one training step (predicted{drawn})"


def _details(plan: MemoryPlan, trace: VramTrace, export: MeasuredPhase) -> Iterator[Folded]:
    if len(plan.considered) > 1:
        summary = f"What the planner looked at: {len(plan.considered)} ways, in the order of what they cost"
        yield Folded(summary, [_considered_table(plan)])
    layers = _layers_table(plan)
    if layers.rows:
        yield Folded("The layers that hold most at the peak", [layers])
    yield Folded("The phases in figures", [_figures_table(plan, trace, export)])


def _considered_table(plan: MemoryPlan) -> PageTable:
    columns = ("micro-batches", "precision", "recomputed", "offloaded", "needs", "fits", "a step", "")
    rows = [
        (
            _batches(way),
            way.precision,
            _CHECKPOINTING[way.activation_checkpointing],
            way.offload,
            format_bytes(way.needed_bytes),
            way.fits,
            None if way.seconds_per_step is None else _duration(way.seconds_per_step),
            "chosen" if _is_chosen(way, plan) else " ",
        )
        for way in plan.considered
    ]
    return PageTable(columns, rows)


def _is_chosen(way: CandidateResult, plan: MemoryPlan) -> bool:
    return StepConfig.from_records(way) == StepConfig.from_records(plan)


def _layers_table(plan: MemoryPlan) -> PageTable:
    """Return the modules among the largest owners; one without is an op of the whole model, told by category."""
    peak = max(phase.peak_bytes for phase in plan.predicted)
    rows = [
        (*_module_and_op(row.owner), format_bytes(row.num_bytes), f"{row.num_bytes / peak:.0%}")
        for row in plan.largest
        if "/" in row.owner
    ]
    return PageTable(("module", "op", "holds", "of the peak"), rows[:_MOST_LAYERS])


def _module_and_op(owner: str) -> tuple[str, str]:
    module, _, op = owner.rpartition("/")
    return "outside of its layers" if module == "(whole)" else module, op


def _figures_table(plan: MemoryPlan, trace: VramTrace, export: MeasuredPhase) -> PageTable:
    columns = ("phase", "predicted", "smallest cap", "reserved uncapped", "measured", "measured reserved", "error")
    seen = {compared.phase: compared for compared in _compared(plan, trace, export)}
    rows = [
        (_phase_name(phase, plan), *_predicted_cells(phase), *_measured_cells(seen.get(phase.phase)))
        for phase in plan.predicted
    ]
    filled = [index for index, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
    return PageTable(
        [columns[index] for index in filled],
        [[row[index] for index in filled] for row in rows],
        f"Predicted from {plan.method}",
    )


def _predicted_cells(phase: PhaseMemory) -> Iterable[str | None]:
    yield format_bytes(phase.peak_bytes)
    for size in (phase.min_memory_limit_bytes, phase.reserved_bytes):
        yield format_bytes(size) if size else None


def _measured_cells(compared: PhaseComparison | None) -> Iterable[str | None]:
    reserved = compared.measured.peak_reserved_bytes if compared else None
    error = comparable_error(compared) if compared else None
    yield format_bytes(compared.measured.peak_bytes) if compared else None
    yield None if reserved is None else format_bytes(reserved)
    yield None if error is None else f"{error:+.1%}"


def _compared(plan: MemoryPlan, trace: VramTrace, export: MeasuredPhase) -> tuple[PhaseComparison, ...]:
    """Return the phases of training, and the export, which another stage has measured."""
    predicted = plan.phase("export").peak_bytes
    return (*trace.phases, PhaseComparison(phase="export", predicted_bytes=predicted, measured=export))


def _phase_name(phase: PhaseMemory, plan: MemoryPlan) -> str:
    """Name the phase, with where it runs if that is not where the plan's card is used."""
    return phase.phase if phase.device == plan.device else f"{phase.phase} (main memory)"


def _measured_words(phase: MeasuredPhase) -> str:
    return "tensors on the GPU" if is_comparable(phase) else "growth of the process, no test of the prediction"


def _batches(way: MemoryPlan | CandidateResult) -> str:
    return f"{way.micro_batch} x {way.gradient_accumulation_steps}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
