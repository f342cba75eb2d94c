"""Every plan of a run of this machine is for its card; a plan for a card of the catalog is not."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.cards import FakeCard, install
from tests.vram.test_planner import StraightLines

from eightgig.core.units import GIB
from eightgig.models.agents import AgentParameters, EnvironmentParameters, Spaces
from eightgig.models.parameters import ImageModelParameters
from eightgig.pipelines.gpu_guide import nodes as guide
from eightgig.pipelines.gpu_guide.parameters import CompareParameters, OwnModelParameters, WorkloadParameters
from eightgig.stages.plan import plan_memory
from eightgig.stages.tiles import TilePlanner
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.train import plan_agent
from eightgig.tiles.parameters import TilesParameters
from eightgig.training.distributed.parameters import DistributedParameters
from eightgig.training.parameters import TrainParameters
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.planning import target
from eightgig.vram.tracing.spec import WorkloadSpec

PLAN = PlanParameters(precision="fp32")
FP32 = TrainParameters(num_workers=0)


class _PlainTask:
    channels_last = False

    def num_outputs(self, _):
        return 2

    def workload(self, *_):
        return WorkloadSpec(factory="nowhere:make")

    def generation_workload(self, *_):
        return None


NO_STORE: Any = None


def plain_task() -> Any:
    """Return as much of a task as planning asks for."""
    return _PlainTask()


def train_plan(parameters=PLAN, train=FP32):
    plan_memory(
        plain_task(), NO_STORE, ImageModelParameters(name="any/net", weights="none", image_size=32), train, parameters
    )


def tiles_plan(parameters=PLAN):
    weights: Any = SimpleNamespace(card=SimpleNamespace(model="any/net", classes=("a", "b")))
    return TilePlanner(plain_task(), weights, FP32, parameters, TilesParameters(tile=64)).plan(128, 128, lambda _: 8)


def agent_plan(parameters=PLAN):
    spaces = Spaces(observes="box", num_observations=4, acts="discrete", num_actions=2)
    exploration: Any = SimpleNamespace(spaces=spaces)
    plan_agent(EnvironmentParameters(), AgentParameters(), PPOParameters(), exploration, parameters)


@pytest.fixture
def requests(monkeypatch):
    """What the planner is asked; it gives a plan without findings."""
    asked = []

    def make_plan(request, parameters, *, predictor=None):
        asked.append((request, parameters))
        return SimpleNamespace(device="cpu", sentence=lambda: "fits", verdict="fits", findings=())

    monkeypatch.setattr("eightgig.vram.planning.planner.make_plan", make_plan)
    monkeypatch.setattr("eightgig.vram.tracing.predictor.Predictor", nullcontext)
    monkeypatch.setattr(target, "card_found", lambda: card_named("RTX 3080"))
    return asked


@pytest.mark.parametrize("plan_of", [train_plan, tiles_plan, agent_plan])
def test_a_plan_of_this_machine_knows_what_its_card_has(monkeypatch, requests, plan_of):
    install(monkeypatch, [FakeCard(total_bytes=6 * GIB, free_bytes=5 * GIB)])
    plan_of()
    ((request, _),) = requests
    assert request.device == "cuda"
    assert (request.memory.total_bytes, request.memory.free_bytes) == (6 * GIB, 5 * GIB)
    assert request.card == card_named("RTX 3080")


def test_pieces_of_a_image_are_planned_within_what_the_card_has(monkeypatch):
    install(monkeypatch, [FakeCard(total_bytes=GIB)])
    monkeypatch.setattr(target, "card_found", lambda: card_named("RTX 3070"))
    lines = StraightLines(validate=100, batch_norm=False)
    monkeypatch.setattr("eightgig.vram.tracing.predictor.Predictor", lambda _: nullcontext(lines))
    made = tiles_plan()
    assert (made.batch, made.memory.budget_gib) == (2, 1.0)
    assert [finding.code for finding in made.memory.findings] == ["VRAM013"]


@pytest.mark.gpu
def test_a_budget_beyond_a_real_card_is_cut_to_it(monkeypatch):
    total_gib = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / GIB
    lines = StraightLines(validate=100, batch_norm=False)
    monkeypatch.setattr("eightgig.vram.tracing.predictor.Predictor", lambda _: nullcontext(lines))
    made = tiles_plan(PLAN.model_copy(update={"budget_gib": 2 * total_gib}))
    assert made.memory.budget_gib <= total_gib
    assert "VRAM013" in [finding.code for finding in made.memory.findings]


@pytest.mark.parametrize("plan_of", [train_plan, tiles_plan, agent_plan])
def test_without_the_card_it_is_for_the_budget_that_was_asked_for(monkeypatch, requests, plan_of):
    install(monkeypatch, [FakeCard(name="NVIDIA GeForce GTX 1060", capability=(6, 1), total_bytes=6 * GIB)])
    plan_of()  # torch has no kernels for it
    plan_of(PLAN.model_copy(update={"device": "cpu"}))
    assert [request.memory for request, _ in requests] == [None, None]


def test_a_plan_of_several_processes_is_for_the_least_of_their_cards(monkeypatch, requests):
    install(monkeypatch, [FakeCard(total_bytes=24 * GIB), FakeCard(uuid="2", total_bytes=6 * GIB)])
    train_plan(train=FP32.model_copy(update={"distributed": DistributedParameters(nproc_per_node=2)}))
    assert requests[0][0].memory.total_bytes == 6 * GIB


def test_the_guide_plans_for_the_catalogs_cards_whatever_stands_here(monkeypatch, requests):
    install(monkeypatch, [FakeCard(total_bytes=6 * GIB)])
    monkeypatch.setattr(guide, "card_found", lambda: None)
    workload = WorkloadParameters(
        title="any", chapter="1", factory="nowhere:make", sample="1 px", effective_batch=8, micro_batch=8
    )
    monkeypatch.setattr("eightgig.pipelines.gpu_guide.rows.row_of_plan", lambda *_, **__: _row())
    with pytest.raises(EnoughError):
        guide.plan_everything(
            CompareParameters(cards=("RTX 4090",), workloads={"any": workload}), PLAN, None, OwnModelParameters()
        )
    request, parameters = requests[0]
    assert (request.memory, parameters.budget_gib) == (None, 24.0)


class EnoughError(Exception):
    """The planner was asked, and that is all that is looked at."""


def _row():
    raise EnoughError
