"""The guide's sections: each turns a part of the guide into what a person reads."""

from eightgig.pipelines.gpu_guide.records import Guide, GuideRow
from eightgig.report.page import Chart, Fact, Facts, Section
from eightgig.report.page import Table as PageTable
from eightgig.stages.annotations import Figure, Table
from eightgig.vram.cards.catalog import article_figures
from eightgig.vram.cards.roofline import (
    ACHIEVED_BANDWIDTH,
    ACHIEVED_COMPUTE,
    LAUNCH_SECONDS,
    LOADER_IMAGES_PER_CORE_SECOND,
)
from eightgig.vram.parameters import PlanParameters

_PLAN_COLUMNS = {
    "title": "workload",
    "card": "card",
    "memory_gib": "needs GiB",
    "reserved_gib": "uncapped GiB",
    "card_gib": "card GiB",
    "precision": "precision",
    "micro_batch": "micro-batch",
    "gradient_accumulation_steps": "accumulation",
    "activation_checkpointing": "activation_checkpointing",
    "findings": "findings",
    "remark": "remark",
}
_TIME_COLUMNS = {
    "title": "workload",
    "card": "card",
    "seconds_per_step": "s/step",
    "samples_per_second": "samples/s",
    "epoch_minutes": "min/epoch",
    "limit": "next limit",
}


def headline(guide: Guide, claims: Table) -> list[Fact]:
    """Return the figures a person should see first."""
    mine = [row for row in guide.rows if row.card == guide.reference_card]
    counts = claims["verdict"].value_counts()
    fitting = sum(row.fits for row in mine)
    slower = sum(row.fits and row.limit == "memory" for row in mine)
    against = [row for row in guide.rows if not row.fits]
    return [
        Fact(
            f"Workloads that fit the {guide.reference_card}",
            f"{fitting} of {len(mine)}",
            f"{slower} of them by recomputing or moving activations",
            mark="good" if fitting == len(mine) else "plain",
            part=fitting / len(mine),
        ),
        Fact("Cards", str(len(guide.cards)), f"in this machine: {guide.found_card or 'none'}"),
        Fact("Pairs that do not fit", str(len(against)), f"of {len(guide.rows)}"),
        Fact(
            "Claims of the article",
            f"{counts.get('supported', 0)} supported",
            f"{counts.get('contradicted', 0)} contradicted, {counts.get('partly', 0)} partly, "
            f"{counts.get('not tested', 0)} not tested",
        ),
    ]


def in_words(guide: Guide) -> str:
    """Return what a person wants to know first: what the card of the article runs, and which runs all."""
    mine = [row for row in guide.rows if row.card == guide.reference_card]
    small = {row.card for row in guide.rows if not row.fits}
    enough = sorted((card for card in guide.cards if card.name not in small), key=lambda card: card.memory_gib)
    all_fit = f" All of them fit the {enough[0].name} ({enough[0].memory_gib:g} GiB)." if enough and small else ""
    return (
        f"{sum(row.fits for row in mine)} of {len(mine)} workloads fit the {guide.reference_card} at their effective "
        f"batch.{all_fit}"
    )


def fits_section(guide: Guide, figure: Figure) -> Section:
    """Show what fits where, and how."""
    prose = (
        "A cell shows what the card must have: the smallest cap under which the step does not run out of memory, with "
        "the planner's margin and the CUDA context. Uncapped, the allocator may take more. The effective batch is the "
        "same on every card."
    )
    return Section("What fits", prose, [Chart(figure), _table(guide.rows, _PLAN_COLUMNS, "Every plan")])


def speed_section(guide: Guide, figure: Figure) -> Section:
    """Show how fast each card is, and what limits it next."""
    prose = (
        f"Against the {guide.reference_card}, each card with its own plan. The times are a roofline's and right to "
        "about a quarter; the ratios are better than that. An epoch counts the loader where it is slower than the card "
        f"({guide.cores} cores)."
    )
    return Section("How fast", prose, [Chart(figure), _table(guide.rows, _TIME_COLUMNS, "Time")])


def claims_section(claims: Table) -> Section:
    """Show the article's claims and what became of them."""
    prose = (
        "A claim is supported when the figure found lies in its range, give or take the error of the prediction: 5 % "
        "of memory, 25 % of time. GB are read as GiB, as torch shows them. Claims on accuracy and frames a "
        "second are answered by their case studies."
    )
    columns = ["chapter", "claim", "claimed", "found", "verdict", "remark", "basis"]
    parts = {"claim": "What can be done", "figure": "Figures of hardware"}
    tables = [
        PageTable.from_frame(claims.loc[claims["kind"] == kind, columns], caption=caption)
        for kind, caption in parts.items()
    ]
    return Section("The article, claim by claim", prose, tables)


def cards_section(guide: Guide) -> Section:
    """Show the catalog's figures, and where the article has others."""
    columns = (
        "card",
        "GiB",
        "GB/s",
        "CUDA cores",
        "FP32",
        "FP16",
        "INT8",
        "W",
        "PCIe",
        "NVLink",
        "not verified",
        "sources",
    )
    rows = [
        (
            card.name,
            f"{card.memory_gib:g}",
            card.bandwidth_gb_per_s,
            card.cuda_cores,
            card.fp32_tflops,
            card.fp16_tflops,
            card.int8_tops,
            card.tdp_w,
            f"{card.pcie_generation}.0 x{card.pcie_lanes}",
            bool(card.nvlink_gb_per_s),
            ", ".join(card.unverified),
            "; ".join(card.sources),
        )
        for card in guide.cards
    ]
    wrong = [figure for figure in article_figures() if figure.is_right is False]
    errors = "; ".join(
        f"{figure.card}, {figure.quantity}: {figure.claimed:g} {figure.unit} in the article, {figure.found:g} in truth "
        f"({figure.note})"
        for figure in wrong
    )
    prose = (
        "TFLOPS and TOPS are dense; FP16 is of the tensor cores with float32 accumulation, what training uses. "
        f"Where the article errs: {errors or 'nowhere'}."
    )
    return Section("The cards", prose, [PageTable(columns, rows)])


def method_section(guide: Guide, plan: PlanParameters) -> Section:
    """Return how the figures were made, and how far to trust them."""
    loaders = ", ".join(f"{name} {rate:g}" for name, rate in LOADER_IMAGES_PER_CORE_SECOND.items())
    shares = ", ".join(f"{precision} {share:.0%}" for precision, share in ACHIEVED_COMPUTE.items())
    facts = [
        Fact("share of a card's peak arithmetic", shares, "fitted on published runs of one card"),
        Fact("share of its memory bandwidth", f"{ACHIEVED_BANDWIDTH:.0%}", "fitted likewise"),
        Fact("between two kernels", f"{LAUNCH_SECONDS * 1e6:g} us"),
        Fact("images a second and core", loaders, "one AMD EPYC core, benchmarks/results"),
        Fact("CPU cores", guide.cores),
        Fact("CUDA context", "of the calibration" if plan.context_gib is None else f"{plan.context_gib:g} GiB"),
        Fact("torch", guide.torch_version),
    ]
    prose = (
        "No GPU was used: each step was traced with tensors that have shapes and no values, its allocations replayed "
        "through a simulation of torch's allocator, and its ops timed by a roofline of each card."
    )
    return Section("How it was predicted", prose, [Facts(facts)])


def _table(rows: tuple[GuideRow, ...], columns: dict[str, str], caption: str) -> PageTable:
    import pandas as pd

    frame = pd.DataFrame([row.model_dump() for row in rows])[list(columns)].rename(columns=columns)
    formats = {
        "s/step": ".3g",
        "samples/s": ".1f",
        "min/epoch": ".1f",
        "needs GiB": ".1f",
        "uncapped GiB": ".1f",
        "card GiB": "g",
    }
    return PageTable.from_frame(frame, caption=caption, formats=formats)
