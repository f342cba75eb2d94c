"""The guide's steps: plan every workload for every card, answer the article, draw, write the page."""

import logging
from typing import TYPE_CHECKING

from eightgig.core.errors import BudgetError, PredictionError
from eightgig.pipelines.gpu_guide.parameters import CompareParameters, OwnModelParameters, WorkloadParameters
from eightgig.pipelines.gpu_guide.records import Guide, GuideRow
from eightgig.report.page import Page
from eightgig.stages.annotations import Figure, Table
from eightgig.vram.cards.catalog import Card, card_named
from eightgig.vram.cards.found import card_found
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.tracing.predictor import Predictor

logger = logging.getLogger(__name__)
# The oldest driver for each major version of CUDA: docs.nvidia.com/deploy/cuda-compatibility, table 1.
_DRIVER_FOR_CUDA = {"11": 450, "12": 525, "13": 580}
# Memory enough for anything here: the article's own way is planned without regard to what fits.
_BOUNDLESS_GIB = 1024.0


def plan_everything(
    compare: CompareParameters, plan: PlanParameters, model: str | None, own_model: OwnModelParameters
) -> tuple[Guide, Table]:
    """Return the guide, and its rows as a table: every workload on every card, and as the article runs it.

    A model of the user's is planned alone, unless `own_model` asks for the others beside it. What does not fit a card
    is a row that says so, with what would.
    """
    from eightgig.vram.tracing.predictor import Predictor

    cards, found = _cards(compare)
    workloads = _workloads(compare, model, own_model)
    reference = next((card for card in cards if card.name == compare.reference_card), cards[0])
    logger.info("plans %d workloads on %d cards; each new step takes seconds to trace", len(workloads), len(cards))
    with Predictor() as predictor:
        rows = [
            _planned_row(name, workload, card, plan, compare.cores, predictor)
            for name, workload in workloads.items()
            for card in cards
        ]
        article = [
            _article_row(name, workload, reference, plan, compare.cores, predictor)
            for name, workload in workloads.items()
        ]
    torch_version, driver_needed = _torch_and_driver()
    guide = Guide(
        cards=cards,
        found_card=found.name if found else None,
        rows=tuple(rows),
        article_rows=tuple(row for row in article if row is not None),
        reference_card=reference.name,
        cores=compare.cores,
        driver_needed=driver_needed,
        torch_version=torch_version,
    )
    return guide, _as_table(guide)


def answer_claims(guide: Guide) -> Table:
    """Return the article's claims with the answers, one row each."""
    import pandas as pd

    from eightgig.pipelines.gpu_guide.claims import answers

    return pd.DataFrame([one.model_dump() for one in answers(guide)])


def draw_figures(guide: Guide) -> tuple[Figure, Figure]:
    """Return the heat maps: what fits, and how fast."""
    from eightgig.pipelines.gpu_guide.cells import fits_cells, speed_cells
    from eightgig.report.guide import fits_heat_map, speed_heat_map

    names = [card.name for card in guide.cards]
    return fits_heat_map(fits_cells(guide), names), speed_heat_map(speed_cells(guide), names)


def write_page(
    title: str, guide: Guide, claims: Table, fits_figure: Figure, speed_figure: Figure, plan: PlanParameters
) -> Page:
    """Return the guide's page."""
    from eightgig.pipelines.gpu_guide import buying, page

    sections = [
        page.fits_section(guide, fits_figure),
        page.speed_section(guide, speed_figure),
        page.claims_section(claims),
        buying.buying_section(guide),
        buying.several_cards_section(guide),
        page.cards_section(guide),
        page.method_section(guide, plan),
    ]
    subtitle = "Every case study on every card: the plan that fits, its memory, its time. Predicted, not measured."
    return Page(
        title=title,
        subtitle=subtitle,
        summary=page.in_words(guide),
        headline=page.headline(guide, claims),
        sections=sections,
    )


def _cards(compare: CompareParameters) -> tuple[tuple[Card, ...], Card | None]:
    chosen = tuple(card_named(name) for name in compare.cards)
    found = card_found() if compare.add_found_card else None
    if found is None or found.name in {card.name for card in chosen}:
        return chosen, found
    return (*chosen, found), found


def _workloads(
    compare: CompareParameters, model: str | None, own_model: OwnModelParameters
) -> dict[str, WorkloadParameters]:
    own = {"your_model": own_model.workload(model)} if model else {}
    if own and not own_model.with_other_workloads:
        return own
    return {name: workload for name, workload in compare.workloads.items() if workload is not None} | own


def _planned_row(
    name: str, workload: WorkloadParameters, card: Card, plan: PlanParameters, cores: int, predictor: "Predictor"
) -> GuideRow:
    from eightgig.pipelines.gpu_guide.rows import row_of_plan, row_that_does_not_fit, row_without_plan
    from eightgig.vram.planning.planner import make_plan

    budget = plan.model_copy(update={"budget_gib": card.memory_gib})
    try:
        made = make_plan(_request(name, workload, card), budget, predictor=predictor)
    except BudgetError as error:
        logger.info("%s on %s: does not fit", name, card.name)
        return row_that_does_not_fit(name, workload, card, str(error))
    except PredictionError as error:  # of one network: the others have their rows
        logger.warning("%s on %s: %s", name, card.name, error)
        return row_without_plan(name, workload, card, str(error))
    logger.info("%s on %s: %s", name, card.name, made.sentence())
    return row_of_plan(name, workload, card, made, cores=cores)


def _article_row(
    name: str, workload: WorkloadParameters, card: Card, plan: PlanParameters, cores: int, predictor: "Predictor"
) -> GuideRow | None:
    from eightgig.pipelines.gpu_guide.rows import row_of_plan
    from eightgig.vram.planning.planner import make_plan

    way = workload.as_in_article
    if way is None:
        return None
    fixed = {
        "activation_checkpointing": "none",
        "offload": "never",
        "attention": way.attention,
        "budget_gib": _BOUNDLESS_GIB,
    }
    request = _request(name, workload, card).model_copy(update={"precisions": (way.precision,), "channels_last": False})
    try:
        made = make_plan(request, plan.model_copy(update=fixed), predictor=predictor)
    except PredictionError:  # told of in the workload's other rows
        return None
    row = row_of_plan(name, workload, card, made, cores=cores, loader="folder")
    over = row.memory_gib is not None and row.memory_gib > card.memory_gib
    return row.model_copy(update={"as_in_article": True, "fits": not over, "margin_gib": None})


def _request(name: str, workload: WorkloadParameters, card: Card) -> "PlanRequest":
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.tracing.spec import WorkloadSpec

    return PlanRequest.from_records(
        workload,
        name=name,
        workload=WorkloadSpec.from_records(workload),
        task="train" if workload.task == "train" else "infer",
        device="cuda",
        device_name=card.name,
        card=card,
    )


def _torch_and_driver() -> tuple[str, int | None]:
    import torch

    cuda = torch.version.cuda
    return torch.__version__, _DRIVER_FOR_CUDA.get(cuda.partition(".")[0]) if cuda else None


def _as_table(guide: Guide) -> Table:
    import pandas as pd

    return pd.DataFrame([row.model_dump() for row in (*guide.rows, *guide.article_rows)])
