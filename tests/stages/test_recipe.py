"""Which parameters belong to the recipe of a training, and which have no effect on what comes out of it."""

from typing import Any

import pytest
from tests.faults import small_cases
from tests.faults.small_cases import KINDS, make_job

from eightgig.core.records import Effect
from eightgig.core.tracker import NoTracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.tasks.reinforcement import trainer
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.training.distributed.parameters import DistributedParameters

# Each parameter that may change while a run is under way, with another value than the small cases have.
WITHOUT_EFFECT = {
    "resume": "never",
    "checkpoint_minutes": 1.0,
    "num_workers": 2,
    "record_memory": True,
    "empty_cache_every": 3,
    "distributed": DistributedParameters(nproc_per_node=2),
    "eval_batch_size": 2,
}
TOGETHER = {"batch_size": 2, "gradient_accumulation_steps": 4}  # of these it is the product that counts


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


def recipe_of(job):
    return job.open_checkpoints().recipe.values


def assert_each_in_one_group(record, prefix, values):
    in_recipe = {name.split(".")[1] for name in values if name.startswith(f"{prefix}.")}
    without_effect = record.fields_with(*Effect)
    empty = {name for name, value in record if value == {}}
    assert not in_recipe & without_effect
    assert in_recipe | without_effect | empty == set(type(record).model_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_of_the_recipe_or_declared_to_have_no_effect(kind, stores, tmp_path):
    job = make_job(kind, stores, tmp_path)
    for prefix, record in (("train", job.train), ("model", job.model)):
        assert_each_in_one_group(record, prefix, recipe_of(job))
    assert job.train.fields_with(*Effect) == WITHOUT_EFFECT.keys() | TOGETHER.keys()


@pytest.mark.parametrize("changes", [*({name: value} for name, value in WITHOUT_EFFECT.items()), TOGETHER], ids=str)
def test_what_has_no_effect_makes_no_other_run(changes, stores, tmp_path):
    job, other = make_job("text", stores, tmp_path), make_job("text", stores, tmp_path, **changes)
    assert job.train != other.train
    assert recipe_of(job) == recipe_of(other)


def test_the_effective_batch_makes_another_run(stores, tmp_path):
    job = make_job("text", stores, tmp_path)
    changed: list[dict[str, Any]] = [{name: 16} for name in TOGETHER]
    for changes in changed:
        assert recipe_of(make_job("text", stores, tmp_path, **changes))["effective_batch"] != "8"
    assert recipe_of(job)["effective_batch"] == "8"


def test_of_an_agent_likewise(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(trainer, "AgentTrainer", lambda *_, checkpoints, **__: made.append(checkpoints) or Nothing())
    environment, agent, recipe = EnvironmentParameters(num_envs=2), AgentParameters(), PPOParameters(num_seeds=3)
    others = {"resume": "never", "device": "cuda", "num_seeds": 1}
    for one in (recipe, recipe.model_copy(update=others)):
        trainer.train_agent(environment, agent, one, seed=1, tracker=NoTracker(), checkpoints=tmp_path)
    first, second = (checkpoints.recipe.values for checkpoints in made)
    assert first == second
    for prefix, record in (("train", recipe), ("agent", agent), ("environment", environment)):
        assert_each_in_one_group(record, prefix, first)
    assert recipe.fields_with(*Effect) == {"resume", "device"}
    assert first["train.seed"] == "1"


class Nothing:
    def run(self):
        """Train nothing."""
