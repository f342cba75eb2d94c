"""The nodes, with a planner that is played: what they ask of it, and what they make of its answers."""

from types import SimpleNamespace

import pytest

from eightgig.core.errors import BudgetError, PredictionError
from eightgig.pipelines.gpu_guide import nodes
from eightgig.pipelines.gpu_guide.parameters import (
    ArticleWay,
    CompareParameters,
    OwnModelParameters,
    WorkloadParameters,
)
from eightgig.pipelines.gpu_guide.rows import row_of_plan
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.parameters import PlanParameters

GIB = 1024**3
WORKLOAD = WorkloadParameters(
    title="EfficientNet-B3",
    chapter="5.1",
    factory="package.module:make",
    sample="300 px",
    effective_batch=128,
    micro_batch=32,
    samples_per_epoch=100_000,
    loads_images=True,
    as_in_article=ArticleWay(precision="fp32", attention="eager"),
)


def made_plan(**values):
    plan = {
        "fits": True,
        "verdict": "fits",
        "context_bytes": GIB // 2,
        "needed_bytes": 5 * GIB,
        "predicted_reserved_bytes": 6 * GIB,
        "margin_bytes": 5 * GIB // 2,
        "micro_batch": 32,
        "gradient_accumulation_steps": 4,
        "precision": "fp16",
        "attention": "none",
        "activation_checkpointing": "none",
        "optimizer_kernel": "fused",
        "offload": False,
        "seconds_per_step": 0.5,
        "bottleneck": "memory bandwidth",
        "findings": (SimpleNamespace(code="VRAM001"),),
        "phase": lambda _: SimpleNamespace(parameters=43 * 10**6),
        "sentence": lambda: "fits",
    }
    return SimpleNamespace(**{**plan, **values})


def row(plan=None, workload=WORKLOAD, **options):
    return row_of_plan("b3", workload, card_named("RTX 3070"), plan or made_plan(), **{"cores": 8, **options})


def test_a_row_says_where_a_plan_fits_barely():
    assert not row().fits_barely
    assert row(made_plan(verdict="fits barely")).fits_barely


def test_a_row_counts_the_context_and_the_whole_effective_batch():
    made = row()
    assert (made.memory_gib, made.reserved_gib, made.margin_gib) == (5.5, 6.5, 2.5)
    assert made.samples_per_second == 256
    assert made.epoch_minutes == pytest.approx(100_000 / 256 / 60)
    assert (made.limit, made.findings, made.weight_bytes) == ("memory bandwidth", "VRAM001", 43 * 10**6)


def test_a_slow_loader_makes_the_epoch():
    made = row(cores=1, loader="folder")
    assert made.epoch_minutes == pytest.approx(100_000 / 198.94 / 60)
    assert (made.limit, made.samples_per_second) == ("loader", 256)


def test_tokens_wait_for_no_loader():
    assert row(workload=WORKLOAD.model_copy(update={"loads_images": False}), cores=1).limit == "memory bandwidth"


@pytest.mark.parametrize("slower", [{"activation_checkpointing": "full"}, {"offload": True}])
def test_what_pays_for_memory_is_limited_by_it(slower):
    assert row(made_plan(**slower)).limit == "memory"


def test_a_generator_has_no_gradients_and_runs_its_pass_again_and_again():
    made = row(workload=WORKLOAD.model_copy(update={"task": "generate", "passes": 25, "effective_batch": 1}))
    assert (made.weight_bytes, made.optimizer_kernel) == (None, None)
    assert (made.seconds_per_step, made.samples_per_second) == (12.5, 1 / 12.5)


class FakePlanner:
    """Fits everything on cards of 10 GiB and more; remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.open = 0

    def make_plan(self, request, parameters, *, predictor):
        assert predictor is self
        self.asked.append((request, parameters))
        if parameters.budget_gib < 10:
            raise BudgetError("it does not fit: needs 9.0 GiB")
        return made_plan()

    def __enter__(self):
        self.open += 1
        return self

    def __exit__(self, *_):
        self.open -= 1


@pytest.fixture
def planner(monkeypatch):
    fake = FakePlanner()
    monkeypatch.setattr("eightgig.vram.planning.planner.make_plan", fake.make_plan)
    monkeypatch.setattr("eightgig.vram.tracing.predictor.Predictor", lambda: fake, raising=False)
    monkeypatch.setattr("eightgig.pipelines.gpu_guide.nodes.card_found", lambda: None)
    return fake


COMPARE = CompareParameters(cards=("RTX 3070", "RTX 3080"), workloads={"b3": WORKLOAD, "left_out": None})


def test_cards_may_be_joined_for_the_command_line():
    made = CompareParameters.model_validate({"cards": "RTX 3070 + RTX 5070", "workloads": {}})
    assert made.cards == ("RTX 3070", "RTX 5070")


def test_every_pair_is_a_row_also_where_nothing_fits(planner):
    guide, table = nodes.plan_everything(COMPARE, PlanParameters(), None, OwnModelParameters())
    assert [(made.name, made.card, made.fits) for made in guide.rows] == [
        ("b3", "RTX 3070", False),
        ("b3", "RTX 3080", True),
    ]
    assert guide.rows[0].remark == "it does not fit: needs 9.0 GiB"
    assert list(table["card"]) == ["RTX 3070", "RTX 3080", "RTX 3070"]
    assert planner.open == 0


def test_each_card_is_its_own_budget_and_the_article_has_none(planner):
    guide, _ = nodes.plan_everything(COMPARE, PlanParameters(), None, OwnModelParameters())
    asked = [
        (one.budget_gib, one.attention, one.activation_checkpointing, request.precisions)
        for request, one in planner.asked
    ]
    assert asked == [
        (8.0, "sdpa", "auto", ("fp16", "fp32")),
        (10.0, "sdpa", "auto", ("fp16", "fp32")),
        (1024.0, "eager", "none", ("fp32",)),
    ]
    assert (guide.article_rows[0].card, guide.article_rows[0].as_in_article) == ("RTX 3070", True)


def test_a_model_of_the_users_is_planned_alone(planner):
    guide, table = nodes.plan_everything(COMPARE, PlanParameters(), "my.package:make", OwnModelParameters())
    assert {request.name for request, _ in planner.asked} == {made.name for made in guide.rows} == {"your_model"}
    assert (guide.article_rows, len(table)) == ((), 2)


BESIDE_OTHERS = OwnModelParameters(with_other_workloads=True)


def test_a_model_of_the_users_is_one_more_workload_where_that_is_asked_for(planner):
    own = BESIDE_OTHERS.model_copy(update={"effective_batch": 16, "optimizer": "sgd", "options": {"width": 2}})
    guide, _ = nodes.plan_everything(COMPARE, PlanParameters(), "my.package:make", own)
    request = next(request for request, _ in planner.asked if request.name == "your_model")
    assert (request.workload.factory, request.workload.options) == ("my.package:make", {"width": 2})
    assert (request.effective_batch, request.micro_batch, request.optimizer) == (16, 16, "sgd")
    assert [made.card for made in guide.rows if made.name == "your_model"] == ["RTX 3070", "RTX 3080"]
    assert [made.card for made in guide.rows if made.name == "b3"] == ["RTX 3070", "RTX 3080"]
    assert not [made for made in guide.article_rows if made.name == "your_model"]


def test_the_card_of_this_machine_is_added_once(planner, monkeypatch):
    monkeypatch.setattr("eightgig.pipelines.gpu_guide.nodes.card_found", lambda: card_named("H200"))
    guide, _ = nodes.plan_everything(COMPARE, PlanParameters(), None, OwnModelParameters())
    assert ([card.name for card in guide.cards], guide.found_card) == (["RTX 3070", "RTX 3080", "H200"], "H200")
    monkeypatch.setattr("eightgig.pipelines.gpu_guide.nodes.card_found", lambda: card_named("RTX 3080"))
    guide, _ = nodes.plan_everything(COMPARE, PlanParameters(), None, OwnModelParameters())
    assert [card.name for card in guide.cards] == ["RTX 3070", "RTX 3080"]


def test_a_network_that_cannot_be_traced_is_a_row_and_the_others_have_theirs(planner, monkeypatch, caplog):
    def make_plan(request, parameters, *, predictor):
        if request.name == "your_model":
            raise PredictionError("my.package:make cannot be traced: model.py, line 3: a value is read")
        return planner.make_plan(request, parameters, predictor=predictor)

    monkeypatch.setattr("eightgig.vram.planning.planner.make_plan", make_plan)
    guide, table = nodes.plan_everything(COMPARE, PlanParameters(), "my.package:make", BESIDE_OTHERS)
    rows = {(made.name, made.card): made for made in guide.rows}
    assert rows["b3", "RTX 3080"].fits
    own = rows["your_model", "RTX 3080"]
    assert (own.fits, own.limit, own.memory_gib) == (False, None, None)
    assert own.remark == "my.package:make cannot be traced: model.py, line 3: a value is read"
    assert own.remark in set(table["remark"])
    assert own.remark in caplog.text
