"""One training in a process that imports nothing else.

python imports_child.py KIND JSON

Its last line says which of the project's modules it imported, and of which the hash of its code is. Only what lies in
the package may be imported here, and only what the training itself imports.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    kind, asked = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(1)
    counted = _watch_the_digest()
    {"agent": _train_agent, "student": _train_student, "ranks": _train_distributed}.get(kind, _train_network)(asked)
    imported = [name for name in sys.modules if name.partition(".")[0] == "eightgig"]
    sys.stdout.write(json.dumps({"imported": sorted(imported), "counted": sorted(counted)}) + "\n")


def _watch_the_digest() -> set[str]:
    module: Any = import_module("eightgig.training.checkpointing.code_digest")
    counted = set[str]()
    original = module.imported_modules

    def watched(*arguments: Any) -> tuple[str, ...]:
        found = original(*arguments)
        counted.update(found)
        return found

    module.imported_modules = watched
    return counted


def _train_network(asked: dict[str, Any]) -> None:
    job = _job(asked)
    result = job.result(*job.network())
    assert len(result.history) == job.train.epochs


def _train_distributed(asked: dict[str, Any]) -> None:
    """Import what the pipeline's process and the others import, and train alone."""
    import_module("eightgig.stages.distributed.worker")
    job = _job(asked)
    network, objective = job.network()
    training_job: Any = import_module("eightgig.stages.training_job")
    training_job.train_distributed = lambda *_: job.run(network, objective, None)
    assert len(job.result(network, objective).history) == job.train.epochs


def _job(asked: dict[str, Any]) -> Any:
    task, store = _named(asked["task"])(), _named(asked["store"])(Path(asked["store_path"]))
    training_job = import_module("eightgig.stages.training_job")
    return training_job.TrainingJob(
        task=task,
        store=store,
        train_indices=asked["train_indices"],
        val_indices=asked["val_indices"],
        size=asked["size"],
        plan=training_job.MemoryPlan.model_validate(asked["plan"]),
        model=task.records["model"](**asked["model"]),
        train=task.records["train"](**asked["train"]),
        checkpoints=Path(asked["checkpoints"]),
        flight_recorder=Path(asked["checkpoints"]) / "flight_recorder",
        tracker=import_module("eightgig.core.tracker").NoTracker(),
    )


def _train_student(asked: dict[str, Any]) -> None:
    """Train a cut network on the answers of a whole one, as the compress stage does."""
    import pandas as pd

    job = _job(asked)
    compress = import_module("eightgig.stages.compress")
    network, _ = job.network()
    common = {"model": f"{network.library}/{network.name}", "started_from": "", "classes": job.store.classes}
    common |= dict.fromkeys(("best_epoch", "val_score", "num_parameters"), 1)
    common |= dict.fromkeys(("eightgig_version", "torch_version", "trained_on"), "")
    splits = {"index": job.train_indices + job.val_indices, "split": ["train"] * len(job.train_indices)}
    splits["split"] += ["val"] * len(job.val_indices)
    work = compress.CompressionWork(
        task=job.task,
        weights=compress.Weights(
            network.module.state_dict(), job.task.card(network, job.store, size=job.size, common=common)
        ),
        store=job.store,
        splits=pd.DataFrame(splits),
        plan=job.plan,
        train=job.train,
        compress=compress.CompressParameters(),
        checkpoints=job.checkpoints,
        tracker=job.tracker,
    )
    assert work.fit("student", work.start("student"), job.train).history


def _train_agent(asked: dict[str, Any]) -> None:
    module = import_module("eightgig.tasks.reinforcement.train")
    environment = module.EnvironmentParameters(num_envs=2)
    exploration = module.Exploration.model_validate(asked["exploration"])
    train = module.PPOParameters(**asked["train"])
    tracker = import_module("eightgig.core.tracker").NoTracker()
    weights, _ = module.train_agents(
        environment, module.AgentParameters(hidden=(8,)), train, exploration, Path(asked["checkpoints"]), tracker
    )
    assert weights.card.seed == train.seed


def _named(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()
