"""Rules that answer a claim from the plans of this run: memory, time, what fits."""

from eightgig.pipelines.gpu_guide.records import Answer, Claim, Guide, GuideRow, Verdict, not_planned

PREDICTED = "predicted, no GPU"
# How far a figure may lie outside the claimed range and still support it: the predictor's own error, rounded up.
# "About 12 million" is taken as within a tenth.
MEMORY_TOLERANCE, TIME_TOLERANCE, COUNT_TOLERANCE = 0.05, 0.25, 0.10


def within(value: float, claim: Claim, tolerance: float) -> Verdict:
    """Tell whether a figure supports the claimed range, which may be off by a share of its ends."""
    low = claim.low or 0.0
    high = low if claim.high is None else claim.high
    return "supported" if low * (1 - tolerance) <= value <= high * (1 + tolerance) else "contradicted"


def memory(claim: Claim, guide: Guide) -> Answer:
    """Answer how much memory the article's own way of running a workload takes, and what the plan makes of it."""
    row = guide.article_row(claim.workload)
    if row is None or row.reserved_gib is None:
        return not_planned(claim)
    chosen = guide.row(claim.workload, guide.reference_card)
    planned = f"; planned for the {chosen.card}: {_how(chosen)}" if chosen and chosen.fits else ""
    remark = f"the article's way: {_settings(row)}{planned}"
    verdict = within(row.reserved_gib, claim, MEMORY_TOLERANCE)
    return claim.answered(f"{row.reserved_gib:.1f} GiB", verdict, PREDICTED, remark)


def epoch(claim: Claim, guide: Guide) -> Answer:
    """Answer how long an epoch takes as the article runs it, and as planned."""
    row = guide.article_row(claim.workload)
    if row is None or row.epoch_minutes is None:
        return not_planned(claim)
    chosen = guide.row(claim.workload, guide.reference_card)
    minutes = chosen.epoch_minutes if chosen else None
    planned = f"; as planned {minutes:.1f} min ({chosen.precision})" if chosen and minutes else ""
    remark = f"the article's way: {row.precision}, {row.samples_per_second:.0f} samples/s, limit {row.limit}{planned}"
    verdict = within(row.epoch_minutes, claim, TIME_TOLERANCE)
    return claim.answered(f"{row.epoch_minutes:.1f} min", verdict, PREDICTED, remark)


def seconds(claim: Claim, guide: Guide) -> Answer:
    """Answer how long one step takes on the card; Python's own time between the kernels is not in it."""
    row = guide.article_row(claim.workload)
    if row is None or row.seconds_per_step is None:
        return not_planned(claim)
    # The card's time is the least that it can take: it can contradict a shorter claim, and not prove a longer one.
    possible = claim.high is not None and row.seconds_per_step <= claim.high * (1 + TIME_TOLERANCE)
    remark = f"limit {row.limit}; this is the card's own time, Python's comes on top"
    verdict: Verdict = "partly" if possible else "contradicted"
    return claim.answered(f"at least {row.seconds_per_step:.2f} s", verdict, PREDICTED, remark)


def parameters(claim: Claim, guide: Guide) -> Answer:
    """Answer how many trained weights a network has."""
    row = guide.article_row(claim.workload) or guide.row(claim.workload, guide.reference_card)
    if row is None or row.weight_bytes is None:
        return not_planned(claim)
    millions = row.weight_bytes / 4 / 1e6  # all in float32
    verdict = within(millions, claim, COUNT_TOLERANCE)
    return claim.answered(
        f"{millions:.1f} million", verdict, PREDICTED, "weights and buffers, with the head of this task"
    )


def made_to_fit(claim: Claim, guide: Guide) -> Answer:
    """Answer whether a plan was found for a workload that is said to fit with some care."""
    row = guide.row(claim.workload, claim.card)
    return not_planned(claim) if row is None else _fit_answer(claim, row, "supported" if row.fits else "contradicted")


def does_not_fit(claim: Claim, guide: Guide) -> Answer:
    """Answer whether no plan was found for a workload that is said not to fit."""
    row = guide.row(claim.workload, claim.card)
    return not_planned(claim) if row is None else _fit_answer(claim, row, "contradicted" if row.fits else "supported")


def _fit_answer(claim: Claim, row: GuideRow, verdict: Verdict) -> Answer:
    memory = "" if row.memory_gib is None else f": {row.memory_gib:.1f} of {row.card_gib:g} GiB"
    found = f"{'fits' if row.fits else 'does not fit'} the {row.card}{memory}"
    return claim.answered(found, verdict, PREDICTED, _how(row) if row.fits else row.remark)


def _how(row: GuideRow) -> str:
    return _settings(row) if row.memory_gib is None else f"{_settings(row)}, needs {row.memory_gib:.1f} GiB"


def _settings(row: GuideRow) -> str:
    parts = [
        f"{row.precision}",
        f"micro-batch {row.micro_batch} x {row.gradient_accumulation_steps}",
        f"checkpointing {row.activation_checkpointing}" if row.activation_checkpointing not in (None, "none") else "",
        "activations offloaded" if row.offload else "",
        f"{row.attention} attention" if row.attention == "eager" else "",
    ]
    return ", ".join(part for part in parts if part)
