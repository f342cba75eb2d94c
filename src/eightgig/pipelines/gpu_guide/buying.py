"""The guide's advice as sections: when the bigger card pays, and what a second card is worth (article 4.3, 6.3)."""

from eightgig.pipelines.gpu_guide.advice import card_scores, needs_more_than, several_cards
from eightgig.pipelines.gpu_guide.records import Guide
from eightgig.report.page import Section
from eightgig.report.page import Table as PageTable
from eightgig.vram.cards.scaling import power_supply_w


def buying_section(guide: Guide) -> Section:
    """Return when a bigger card pays."""
    rows = [
        (
            score.card,
            f"{score.memory_gib:g}",
            f"{score.num_easy} + {score.num_fits - score.num_easy} of {score.num_workloads}",
            _times(score.speed),
            _times(score.speed_per_price),
            _times(score.speed_per_watt),
            score.launch_price_usd,
            ", ".join(score.only_here),
        )
        for score in card_scores(guide)
    ]
    columns = (
        "card",
        "GiB",
        "fit easily + with care",
        "speed",
        "speed/price",
        "speed/watt",
        "USD at launch",
        "only here",
    )
    caption = f"Against the {guide.reference_card}: geometric means over the workloads that both train"
    return Section("When to buy the bigger card", _buying_words(guide), [PageTable(columns, rows, caption)])


def several_cards_section(guide: Guide) -> Section:
    """Return what a second card is worth, and the power that it asks for."""
    name = guide.reference_card
    one_board, full = (several_cards(guide, name, 2, shared_lanes=shared) for shared in (True, False))
    scaling = [(title, f"{pair.efficiency:.0%}", f"{full[title].efficiency:.0%}") for title, pair in one_board.items()]
    watts = [
        (card.name, card.tdp_w, *(power_supply_w(card, number) for number in (1, 2, 4)), card.system_power_w)
        for card in guide.cards
        if card.tdp_w
    ]
    columns = ("card", "card W", "1 card", "2 cards", "4 cards", "NVIDIA asks, 1 card")
    return Section(
        "One card or several",
        _several_words(guide),
        [
            PageTable(("workload", "8 lanes each", "16 lanes each"), scaling, f"Two {name}: share of twice the speed"),
            PageTable(columns, watts, "Power supply, W"),
        ],
    )


def _times(ratio: float | None) -> str | None:
    return None if ratio is None else f"{ratio:.2f} x"


def _buying_words(guide: Guide) -> str:
    name = guide.reference_card
    short = needs_more_than(guide, name)
    none = [row.title for row in short if not row.fits]
    slower = [row.title for row in short if row.fits]
    words = [f"{', '.join(none)}: no plan fits the {name}." if none else f"Every workload fits the {name}."]
    if slower:
        words.append(f"{', '.join(slower)}: fits, and pays with time for it.")
    better = [score for score in card_scores(guide) if score.num_easy > _easy_on_reference(guide)]
    words += [
        f"The {score.card} ({score.memory_gib:g} GiB) runs {score.num_easy} of {score.num_workloads} with ease"
        + (f", {score.speed:.1f} times as fast." if score.speed else ".")
        for score in better
    ]
    words.append(
        "If none of these is yours, memory is no reason to change; the column of speed is what a new card buys."
    )
    return " ".join(words)


def _easy_on_reference(guide: Guide) -> int:
    return next(score.num_easy for score in card_scores(guide) if score.card == guide.reference_card)


def _several_words(guide: Guide) -> str:
    name = guide.reference_card
    pairs = several_cards(guide, name, 2, shared_lanes=True)
    if not pairs:
        return f"No workload trains on the {name}, so there is nothing to share among several."
    gain = sum(pair.speed_up for pair in pairs.values()) / len(pairs)
    bigger = [
        f"one {score.card} {score.speed:.1f}" for score in card_scores(guide) if score.card != name and score.speed
    ]
    return (
        f"A second {name} on a desktop board (8 lanes each) makes training {gain:.1f} times as fast in the mean; "
        f"{', '.join(bigger)}. Each of several cards holds the whole network: two of 8 GiB train nothing that does not "
        "fit one, so they are for speed, never for memory. Accumulation exchanges gradients less often."
    )
