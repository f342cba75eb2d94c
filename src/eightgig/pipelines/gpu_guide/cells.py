"""The cells of the guide's heat maps: a code or a ratio for the colour, and the words in and behind it."""

from eightgig.pipelines.gpu_guide.records import Guide, GuideRow
from eightgig.stages.annotations import Table

_FITS, _FITS_SLOWER, _DOES_NOT_FIT = 0, 1, 2  # indices of eightgig.report.guide.FIT_CODES


def fits_cells(guide: Guide) -> Table:
    """Return the cells of the map of what fits."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "title": row.title,
                "card": row.card,
                "fit_code": _fit_code(row),
                "text": _fit_text(row),
                "detail": row.remark or _plan_words(row),
            }
            for row in guide.rows
        ]
    )


def speed_cells(guide: Guide) -> Table:
    """Return the cells of the map of speed."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "title": row.title,
                "card": row.card,
                "ratio": _ratio(guide, row),
                "text": _speed_text(guide, row),
                "detail": f"limit: {row.limit}" if row.fits else row.remark,
            }
            for row in guide.rows
        ]
    )


def _fit_code(row: GuideRow) -> int:
    if not row.fits:
        return _DOES_NOT_FIT
    return _FITS_SLOWER if row.limit == "memory" else _FITS


def _fit_text(row: GuideRow) -> str:
    if not row.fits:
        return "does not fit"
    price = "" if row.activation_checkpointing in (None, "none") else "<br>recomputed"
    price += ", offloaded" if row.offload else ""
    price += "<br>barely" if row.fits_barely else ""
    return f"{row.memory_gib:.1f} GiB<br>{row.precision}, {row.micro_batch} x {row.gradient_accumulation_steps}{price}"


def _plan_words(row: GuideRow) -> str:
    memory = f"{row.memory_gib:.1f} of {row.card_gib:g} GiB"
    return f"{memory}, checkpointing {row.activation_checkpointing}, {row.optimizer_kernel or 'no'} optimizer"


def _ratio(guide: Guide, row: GuideRow) -> float | None:
    base = guide.row(row.name, guide.reference_card)
    if base is None or not base.samples_per_second or not row.samples_per_second:
        return None
    return row.samples_per_second / base.samples_per_second


def _speed_text(guide: Guide, row: GuideRow) -> str:
    if not row.samples_per_second:
        return "does not fit"
    ratio = _ratio(guide, row)
    rate = row.samples_per_second
    epoch = f"<br>{row.epoch_minutes:.1f} min an epoch" if row.epoch_minutes else f"<br>{_number(rate)} a second"
    return (f"{ratio:.1f} x" if ratio else "fits here") + epoch


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
