"""The article's claims, each answered by a rule from what this run planned, or from the catalog.

`claims.json` holds the claims in our words; a rule is a function from a claim and the guide to an answer. No figure of
an answer is written down.
"""

import json
from collections.abc import Callable
from importlib.resources import files

from eightgig.core.errors import ConfigurationError
from eightgig.pipelines.gpu_guide import rules_of_machines as machines
from eightgig.pipelines.gpu_guide import rules_of_plans as plans
from eightgig.pipelines.gpu_guide.records import Answer, Claim, Guide, Verdict, not_planned
from eightgig.vram.cards.catalog import ArticleFigure, article_figures


def claims() -> tuple[Claim, ...]:
    """Return the article's claims on memory, time and machines, in its order."""
    listed = json.loads(files(__package__).joinpath("claims.json").read_text(encoding="utf-8"))
    return tuple(Claim.model_validate(values) for values in listed)


def answers(guide: Guide) -> tuple[Answer, ...]:
    """Return the answer to every figure of hardware and every claim, by chapter."""
    answered = [_figure(figure) for figure in article_figures()] + [answer(claim, guide) for claim in claims()]
    return tuple(sorted(answered, key=lambda one: [int(part) for part in one.chapter.split(".")]))


def answer(claim: Claim, guide: Guide) -> Answer:
    """Return the answer to one claim.

    Raises:
        ConfigurationError: there is no rule of the claim's name.
    """
    rule = RULES.get(claim.rule)
    if rule is None:
        raise ConfigurationError(f"no rule {claim.rule!r} for a claim; there are: {', '.join(RULES)}.")
    missing = claim.card and claim.card not in {card.name for card in guide.cards}
    return not_planned(claim) if missing else rule(claim, guide)


def _untested(claim: Claim, _: Guide) -> Answer:
    return claim.answered("", "not tested", "", claim.remark)


RULES: dict[str, Callable[[Claim, Guide], Answer]] = {
    "memory": plans.memory,
    "epoch": plans.epoch,
    "seconds": plans.seconds,
    "parameters": plans.parameters,
    "made_to_fit": plans.made_to_fit,
    "does_not_fit": plans.does_not_fit,
    "no_nvlink": machines.no_nvlink,
    "two_cards": machines.two_cards,
    "article_loader": machines.article_loader,
    "driver": machines.driver,
    "cores": machines.cores,
    "pcie": machines.pcie,
    "power": machines.power,
    "value": machines.value,
    "more_memory": machines.more_memory,
    "per_watt": machines.per_watt,
    "untested": _untested,
}


def _figure(figure: ArticleFigure) -> Answer:
    found = figure.found
    verdict: Verdict = "not tested" if found is None else "supported" if figure.is_right else "contradicted"
    return Answer(
        kind="figure",
        chapter=figure.chapter,
        claim=f"{figure.card}: {figure.quantity}",
        claimed=f"{figure.claimed:g} {figure.unit}".strip(),
        found="" if found is None else f"{found:g} {figure.unit}".strip(),
        verdict=verdict,
        basis=machines.CATALOG,
        remark=figure.note,
    )
