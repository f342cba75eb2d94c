"""Rules that answer a claim on the machine: links, power, driver, loader, and which card to buy."""

from eightgig.pipelines.gpu_guide.advice import card_scores, needs_more_than, several_cards, trained_rows
from eightgig.pipelines.gpu_guide.records import Answer, Claim, Guide, GuideRow, Verdict, not_planned
from eightgig.pipelines.gpu_guide.rules_of_plans import PREDICTED
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.roofline import LOADER_IMAGES_PER_CORE_SECOND
from eightgig.vram.cards.scaling import data_parallel, power_supply_w

CATALOG = "hardware catalog"
MEASURED = "measured on the CPU: benchmarks/results/data_loading-amd-epyc.json"
DRIVER_TABLE = "docs.nvidia.com/deploy/cuda-compatibility, minor version compatibility, table 1"
# From here on a second card is not "of limited efficiency".
GOOD_EFFICIENCY = 0.9
_POWER_TOLERANCE = 0.05
_CARDS_WITH_MORE_MEMORY = ("RTX 3090", "RTX 4070")  # the article's advice


def no_nvlink(claim: Claim, guide: Guide) -> Answer:
    """Answer whether a card has NVLink."""
    card = guide.card(claim.card)
    link = f"NVLink {card.nvlink_gb_per_s:g} GB/s" if card.nvlink_gb_per_s else "no NVLink"
    found = f"{link}, PCI Express {card.pcie_generation}.0 x{card.pcie_lanes}"
    return claim.answered(found, "contradicted" if card.nvlink_gb_per_s else "supported", CATALOG)


def two_cards(claim: Claim, guide: Guide) -> Answer:
    """Answer how much a second card on a desktop board (8 lanes each) is worth, workload by workload."""
    pairs = several_cards(guide, claim.card, 2, shared_lanes=True)
    if not pairs:
        return not_planned(claim)
    worst, *_, best = sorted([*pairs, *pairs], key=lambda title: pairs[title].efficiency)
    good = sum(pair.efficiency >= GOOD_EFFICIENCY for pair in pairs.values())
    verdict: Verdict = "contradicted" if good == len(pairs) else "partly" if good else "supported"
    found = f"{pairs[worst].efficiency:.0%} ({worst}) to {pairs[best].efficiency:.0%} ({best}) on two cards"
    remark = f"{good} of {len(pairs)} workloads reach {GOOD_EFFICIENCY:.0%}; 8 lanes a card"
    return claim.answered(found, verdict, PREDICTED, remark)


def article_loader(claim: Claim, guide: Guide) -> Answer:
    """Answer whether the article's HDF5 file feeds the card."""
    row = guide.article_row(claim.workload) or guide.row(claim.workload, claim.card)
    if row is None or row.samples_per_second is None:
        return not_planned(claim)
    rates = {name: rate * guide.cores for name, rate in LOADER_IMAGES_PER_CORE_SECOND.items()}
    verdict: Verdict = "supported" if rates["article"] >= row.samples_per_second else "contradicted"
    found = f"{rates['article']:.0f} images/s on {guide.cores} cores; the card takes {row.samples_per_second:.0f}"
    remark = f"a folder of JPEGs gives {rates['folder']:.0f}, this project's HDF5 store {rates['store']:.0f}"
    return claim.answered(found, verdict, MEASURED, remark)


def driver(claim: Claim, guide: Guide) -> Answer:
    """Answer whether a driver runs the torch that is installed."""
    if guide.driver_needed is None:
        return claim.answered("", "not tested", DRIVER_TABLE, "this build of torch has no CUDA")
    enough = (claim.low or 0) >= guide.driver_needed
    remark = "" if enough else "right for CUDA 11, which the article installs; not for the torch of today"
    found = f"torch {guide.torch_version} needs {guide.driver_needed} or newer"
    return claim.answered(found, "supported" if enough else "contradicted", DRIVER_TABLE, remark)


def cores(claim: Claim, guide: Guide) -> Answer:
    """Answer how many CPU cores feed a card on its fastest workload."""
    rates = [row.samples_per_second or 0.0 for row in trained_rows(guide, claim.card) if row.loads_images]
    if not rates:
        return not_planned(claim)
    needed = {name: max(rates) / rate for name, rate in LOADER_IMAGES_PER_CORE_SECOND.items()}
    verdict: Verdict = "supported" if needed["store"] <= (claim.low or 0) else "contradicted"
    found = f"{needed['store']:.1f} cores for {max(rates):.0f} images/s, from this project's store"
    remark = f"{needed['folder']:.1f} from a folder of JPEGs, {needed['article']:.0f} from the article's file"
    return claim.answered(found, verdict, f"{PREDICTED}; {MEASURED}", remark)


def pcie(claim: Claim, guide: Guide) -> Answer:
    """Answer what an older generation of PCI Express costs two cards."""
    card = guide.card(claim.card)
    rows = list(trained_rows(guide, claim.card))
    if not rows:
        return not_planned(claim)
    claimed = int(claim.low or card.pcie_generation)
    new, old = (
        _mean_efficiency(rows, card.model_copy(update={"pcie_generation": generation}))
        for generation in (card.pcie_generation, claimed)
    )
    found = f"the card has {card.pcie_generation}.0: {new:.0%} efficiency on two cards, {old:.0%} on {claimed}.0"
    verdict: Verdict = "supported" if claimed >= card.pcie_generation else "partly"
    return claim.answered(found, verdict, f"{CATALOG}; {PREDICTED}", "mean of all workloads, 16 lanes for each card")


def power(claim: Claim, guide: Guide) -> Answer:
    """Answer which power supply two, three and four cards want."""
    watts = {number: power_supply_w(guide.card(claim.card), number) for number in (2, 3, 4)}
    claimed = claim.low or 0
    short = watts[2] * (1 - _POWER_TOLERANCE) > claimed
    verdict: Verdict = "contradicted" if short else "supported" if watts[3] <= claimed else "partly"
    found = ", ".join(f"{number} cards {watt} W" for number, watt in watts.items())
    return claim.answered(found, verdict, CATALOG, "with the reserve that NVIDIA asks for beside one card")


def value(claim: Claim, guide: Guide) -> Answer:
    """Answer whether a card gives most speed for each dollar of its price at launch, of those in this run."""
    scores = {score.card: score.speed_per_price for score in card_scores(guide) if score.speed_per_price}
    if claim.card not in scores or len(scores) < 2:
        return not_planned(claim)
    ranked = sorted(scores, key=lambda name: scores[name], reverse=True)
    found = ", ".join(f"{name} {scores[name] / scores[claim.card]:.2f}" for name in ranked)
    verdict: Verdict = "supported" if ranked[0] == claim.card else "contradicted"
    remark = "speed for each dollar at launch, all workloads that fit; prices of today decide"
    return claim.answered(found, verdict, f"{PREDICTED}; {CATALOG}", remark)


def more_memory(claim: Claim, guide: Guide) -> Answer:
    """Answer whether the cards that the article names free the workloads that are short of memory."""
    named = [name for name in _CARDS_WITH_MORE_MEMORY if name in {card.name for card in guide.cards}]
    short = {row.name: row.title for row in needs_more_than(guide, claim.card)}
    if not named or not short:
        return not_planned(claim)
    freed = [sum(_is_easy(guide.row(name, card)) for name in short) for card in named]
    verdict: Verdict = "supported" if min(freed) == len(short) else "partly" if max(freed) else "contradicted"
    found = "; ".join(f"{card} frees {number} of {len(short)}" for card, number in zip(named, freed, strict=True))
    remark = f"short of memory on the {claim.card}: {', '.join(short.values())}"
    return claim.answered(found, verdict, PREDICTED, remark)


def per_watt(claim: Claim, guide: Guide) -> Answer:
    """Answer whether a card does more for each watt than the reference card."""
    score = next((score for score in card_scores(guide) if score.card == claim.card), None)
    if score is None or score.speed_per_watt is None:
        return not_planned(claim)
    found = f"{score.speed_per_watt:.2f} times the {guide.reference_card}'s speed for each watt"
    verdict: Verdict = "supported" if score.speed_per_watt > 1 else "contradicted"
    return claim.answered(found, verdict, f"{PREDICTED}; {CATALOG}")


def _mean_efficiency(rows: list[GuideRow], card: Card) -> float:
    each = [data_parallel(row.seconds_per_step or 0.0, row.weight_bytes or 0, card, 2).efficiency for row in rows]
    return sum(each) / len(each)


def _is_easy(row: GuideRow | None) -> bool:
    return row is not None and row.fits and row.limit != "memory"
