"""The code that the hash of a training is of is what the training imports; and what follows from that."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults import small_cases
from tests.faults.small_cases import make_job

from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.models.agents import EnvironmentParameters
from eightgig.stages.compress import COMPRESS_ENTRY_POINTS
from eightgig.tasks.reinforcement.nodes import explore
from eightgig.tasks.reinforcement.parameters import EvaluateParameters
from eightgig.tasks.reinforcement.train import train_agents
from eightgig.tasks.reinforcement.trainer import train_agent
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.tasks.text.parameters import LoraParameters
from eightgig.training.checkpointing import code_digest
from eightgig.training.checkpointing.code_digest import address_of
from eightgig.training.parameters import TrainParameters
from eightgig.training.train_step import TrainStep

CHILD = Path(__file__).with_name("imports_child.py")
KINDS = ("classifier", "detector", "segmenter", "text", "generator", "student", "ranks", "agent")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


def generator_job(stores, folder):
    """A run of the text generator, with blocks of one length in the place of texts, and with LoRA: it imports most."""
    path, random = folder / "generator.h5", np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = small_cases.NUM_SAMPLES + small_cases.NUM_VALIDATED
    TokenContent(
        tokens=[random.integers(1, 200, 17) for _ in range(count)],
        labels=[0] * count,
        texts=None,
        num_bytes=[10] * count,
        paths=[f"{number}.txt" for number in range(count)],
        classes=("text",),
        tokenizer_json=train_bpe(["a small text"], vocab_size=260),
        vocab_size=260,
        max_tokens=17,
    ).write(path)
    small_gpt2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "vocab_size": 260}
    model = GeneratorModelParameters(
        name="gpt2", weights="none", max_tokens=16, config=small_gpt2, lora=LoraParameters(rank=2)
    )
    train = TrainParameters(**{**small_cases.RECIPE, "epochs": 1, "num_workers": 0})
    job = make_job("text", stores, folder, epochs=1)
    store: Any = TokenStore(path)
    return replace(job, task=TextGenerator(), store=store, size=model.size, model=model, train=train)


def job_of(kind, stores, folder):
    if kind == "generator":
        return generator_job(stores, folder)
    if kind == "ranks":
        return make_job(
            "text", stores, folder, epochs=1, plan={"gradient_accumulation_steps": 1}, distributed={"nproc_per_node": 2}
        )
    return make_job("classifier" if kind == "student" else kind, stores, folder, epochs=1)


def asked_of(kind, stores, folder):
    """Return what the child is told."""
    if kind != "agent":
        return json.loads(job_of(kind, stores, folder).worker_config().model_dump_json())
    exploration = explore(EnvironmentParameters(num_envs=2), EvaluateParameters(episodes=2))
    train = {"steps": 128, "rollout_steps": 64, "num_seeds": 1, "minibatch_size": 64, "epochs": 1}
    return {"exploration": exploration.model_dump(mode="json"), "train": train, "checkpoints": str(folder / "agent")}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, stores, tmp_path_factory):
    """A training of each kind, in a process of its own: its kind, its folder, and what it said of its modules."""
    folder = tmp_path_factory.mktemp(request.param)
    asked = asked_of(request.param, stores, folder)
    command = [sys.executable, str(CHILD), request.param, json.dumps(asked)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return request.param, folder, json.loads(done.stdout.splitlines()[-1])


def test_what_is_hashed_is_exactly_what_a_training_imports(trained):
    _, _, said = trained
    assert len(said["imported"]) > 40
    assert said["counted"] == said["imported"]


def test_every_process_finds_the_same_hash(trained, stores):
    kind, folder, _ = trained
    kept = list(folder.rglob("manifest.json"))
    assert kept
    found = {json.loads(path.read_text())["recipe"]["circumstances"]["code"] for path in kept}
    assert len(found) == 1
    if kind not in {"agent", "student"}:  # of these the stage makes the recipe
        assert found == {job_of(kind, stores, folder).code_digest()}


def test_no_code_that_trains_reads_files_of_the_package(trained):
    """They would have to be hashed as well."""
    assert [name for name in trained[2]["counted"] if "importlib.resources" in code_digest._code(name)] == []


def forget():
    for cached in (code_digest.code_digest, code_digest._path, code_digest._code):
        cached.cache_clear()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the package, of which the hashes are then."""
    root = tmp_path_factory.mktemp("src")
    shutil.copytree(code_digest._ROOT / "eightgig", root / "eightgig", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(code_digest, "_ROOT", root)
        forget()
        yield root / "eightgig"
    forget()


@contextmanager
def changed(path, text):
    """Add text to a file, for a while."""
    before = path.read_bytes()
    path.write_bytes(before + text.encode())
    forget()
    yield
    path.write_bytes(before)
    forget()


def digests(jobs):
    """Return the hash of each kind of training."""
    found = {kind: job.code_digest() for kind, job in jobs.items()}
    return found | {"agent": code_digest.code_digest((address_of(train_agent), address_of(train_agents)))}


@pytest.fixture(scope="module")
def jobs(sources, stores, tmp_path_factory):
    """A job of each kind, and the hashes before anything is changed."""
    folder = tmp_path_factory.mktemp("jobs")
    made = {kind: job_of(kind, stores, folder) for kind in KINDS if kind != "agent"}
    made["student"] = replace(made["student"], entry_points=COMPRESS_ENTRY_POINTS)
    return made, digests(made)


CODE, COMMENT = "\n\nADDED = 1\n", "\n\n# A comment.\n"
NETWORKS = set(KINDS) - {"agent"}


@pytest.mark.parametrize(
    ("path", "text", "whose"),
    [
        ("report/page.py", CODE, set()),
        ("report/figures.py", CODE, set()),
        ("report/sections/memory.py", CODE, set()),
        ("stages/report.py", CODE, set()),
        ("stages/train.py", CODE, set()),
        ("tasks/detection/report.py", CODE, set()),
        ("tasks/reinforcement/report.py", CODE, set()),
        ("export/onnx.py", CODE, set()),
        ("vram/planning/planner.py", CODE, set()),
        ("tracking/run.py", CODE, set()),
        ("training/trainer.py", COMMENT, set()),
        ("vram/runtime/recompute.py", CODE, NETWORKS),
        ("vram/runtime/offload.py", CODE, NETWORKS),
        ("vram/runtime/in_backward.py", CODE, NETWORKS),
        ("vram/runtime/budget.py", CODE, NETWORKS),
        ("training/trainer.py", CODE, NETWORKS),
        ("core/seeding.py", CODE, set(KINDS)),
        ("tasks/detection/metrics.py", CODE, {"detector"}),
        ("tasks/detection/anchors.py", CODE, {"detector"}),
        ("tasks/detection/task.py", CODE, {"detector"}),
        ("tasks/segmentation/model.py", CODE, {"segmenter"}),
        ("tasks/text/lora.py", CODE, {"generator"}),
        ("tasks/classification/model.py", CODE, {"classifier", "student"}),
        ("models/pruning.py", CODE, {"student"}),
        ("training/distillation.py", CODE, {"student"}),
        ("stages/distributed/worker.py", CODE, {"ranks"}),
        ("tasks/reinforcement/metrics.py", CODE, {"agent"}),
        ("tasks/reinforcement/trainer.py", CODE, {"agent"}),
    ],
)
def test_a_change_is_noticed_by_those_alone_that_it_concerns(sources, jobs, path, text, whose):
    made, before = jobs
    with changed(sources / path, text):
        after = digests(made)
    assert {kind for kind in KINDS if before[kind] != after[kind]} == whose


def test_a_finished_training_is_taken_after_a_change_of_a_page_and_not_of_what_trains(
    sources, stores, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    steps, step = [], TrainStep.run
    monkeypatch.setattr(TrainStep, "run", lambda *a, **o: (steps.append(None), step(*a, **o))[1])

    def steps_of_a_run():
        job = make_job("text", stores, tmp_path, epochs=1)
        steps.clear()
        job.result(*job.network())
        return len(steps)

    assert steps_of_a_run() == 3
    with (
        changed(sources / "report/page.py", CODE),
        changed(sources / "tasks/text/classification/report.py", CODE),
        changed(sources / "training/train_step.py", COMMENT),
    ):
        assert steps_of_a_run() == 0
    assert "this very training is finished: its result is taken" in caplog.text
    with changed(sources / "vram/runtime/recompute.py", CODE):
        assert steps_of_a_run() == 3
    assert re.search(r"finished with other circumstances \(code is \w+, was \w+\): it is made anew", caplog.text)
