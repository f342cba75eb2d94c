"""From the table to advice: one card or several, which power supply, when the bigger card pays."""

import math
from collections.abc import Iterator

from eightgig.core.records import Record
from eightgig.pipelines.gpu_guide.records import Guide, GuideRow
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.scaling import DataParallel, data_parallel, power_supply_w


class CardScore(Record):
    """A card against the reference card, over all workloads that are trained on both.

    Attributes:
        num_fits: workloads for which a plan was found; `num_easy` of them without paying time for memory.
        num_workloads: all that were planned for it.
        speed: geometric mean of its samples a second over the reference card's.
        speed_per_price: that, divided by the price at launch over the reference card's.
        speed_per_watt: that, divided by the power over the reference card's.
        only_here: workloads that fit here and not on the reference card.
        power_supply_w: that a machine with one such card wants.
    """

    card: str
    memory_gib: float
    num_fits: int
    num_easy: int
    num_workloads: int
    speed: float | None
    speed_per_price: float | None
    speed_per_watt: float | None
    only_here: tuple[str, ...]
    launch_price_usd: int | None
    power_supply_w: int | None


def card_scores(guide: Guide) -> tuple[CardScore, ...]:
    """Return every card's score, in the guide's order."""
    return tuple(_score(guide, card) for card in guide.cards)


def several_cards(guide: Guide, card_name: str, num_cards: int, *, shared_lanes: bool) -> dict[str, DataParallel]:
    """Return data parallel training on `num_cards` of a card, by the title of each workload that it trains.

    A workload that waits for the launch of its kernels is left out: more cards would wait as long.
    """
    card = guide.card(card_name)
    return {
        row.title: data_parallel(
            row.seconds_per_step or 0.0, row.weight_bytes or 0, card, num_cards, shared_lanes=shared_lanes
        )
        for row in trained_rows(guide, card_name)
        if row.limit != "launch"
    }


def trained_rows(guide: Guide, card_name: str) -> Iterator[GuideRow]:
    """Yield the rows of a card that fit and that train, which is what exchanges gradients."""
    mine = (row for row in guide.rows if row.card == card_name and row.fits)
    return (row for row in mine if row.weight_bytes and row.seconds_per_step)


def needs_more_than(guide: Guide, card_name: str) -> list[GuideRow]:
    """Return the workloads that do not fit a card, or only by recomputing or moving activations."""
    return [row for row in guide.rows if row.card == card_name and row.limit == "memory"]


def speed_against_reference(guide: Guide, card_name: str) -> float | None:
    """Return the geometric mean of a card's speed over the reference card's; None where they share no workload.

    The geometric mean, since it alone does not depend on which card is the reference.
    """
    ratios = []
    for row in guide.rows:
        base = guide.row(row.name, guide.reference_card)
        if row.card == card_name and row.samples_per_second and base and base.samples_per_second:
            ratios.append(row.samples_per_second / base.samples_per_second)
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def _score(guide: Guide, card: Card) -> CardScore:
    rows = [row for row in guide.rows if row.card == card.name]
    speed = speed_against_reference(guide, card.name)
    base = guide.card(guide.reference_card)
    return CardScore(
        card=card.name,
        memory_gib=card.memory_gib,
        num_fits=sum(row.fits for row in rows),
        num_easy=sum(row.fits and row.limit != "memory" for row in rows),
        num_workloads=len(rows),
        speed=speed,
        speed_per_price=_per(speed, card.launch_price_usd, base.launch_price_usd),
        speed_per_watt=_per(speed, card.tdp_w, base.tdp_w),
        only_here=tuple(row.title for row in rows if row.fits and not _fits_reference(guide, row)),
        launch_price_usd=card.launch_price_usd,
        power_supply_w=power_supply_w(card, 1) if card.tdp_w else None,
    )


def _fits_reference(guide: Guide, row: GuideRow) -> bool:
    base = guide.row(row.name, guide.reference_card)
    return base is not None and base.fits


def _per(speed: float | None, cost: int | None, base_cost: int | None) -> float | None:
    return speed * base_cost / cost if speed and cost and base_cost else None
