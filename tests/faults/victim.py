"""A training run that is killed where it is told to, in a process of its own.

    python victim.py '{"kind": "classifier", "stores": "...", "folder": "...", "kill": ["step", 4]}'

`kill` is null, or a place and a number: `step` (before the n-th optimizer step of this process), `step half done`
(in its first forward pass), `save` (before the n-th checkpoint's bytes are all there), `save unnamed`, `save unlisted`,
`save listed`, or `validation`. It prints, as its last line, a hash of ALL state at the end: weights, average,
optimizer, step, position, history; times of day and how long things took are left out.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.faults.small_cases import make_job

from eightgig.core.tracker import NoTracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.trainer import AgentTrainer
from eightgig.training import trainer as loop
from eightgig.training.checkpointing import checkpoint, saver
from eightgig.training.checkpointing.checkpoint import Checkpoints
from eightgig.training.checkpointing.history import TrainingResult
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.forward_backward import ForwardBackward
from eightgig.training.train_step import TrainStep

_TIMES = {"seconds", "val_seconds", "samples_per_second", "clock"}


def main() -> None:
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    saver._MAX_TIME_SHARE = 1e9  # so that a checkpoint of 0 minutes comes after every step
    _kill_at(*(asked["kill"] or ("nowhere", 0)))
    if asked["kind"] == "agent":
        _train_agent(Path(asked["folder"]))
        return
    state = _watch_the_end()
    job = make_job(asked["kind"], Path(asked["stores"]), Path(asked["folder"]), **asked.get("train", {}))
    job.result(*job.network())
    print(state["hash"])


def hash_of(state: object) -> str:
    """Return a hash of tensors and plain values, whatever they lie in."""
    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for name in sorted(value, key=str):
                if name not in _TIMES:
                    digest.update(str(name).encode())
                    add(value[name])
        elif isinstance(value, list | tuple):
            digest.update(f"[{len(value)}".encode())
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()


def _watch_the_end() -> dict[str, str]:
    found: dict[str, str] = {}
    finish = loop.Trainer._finish

    def watched(self: loop.Trainer) -> TrainingResult:
        found["hash"] = hash_of([self.train_step.state_dict(), self.progress.state_dict()])
        return finish(self)

    loop.Trainer._finish = watched
    return found


def _train_agent(folder: Path) -> None:
    recipe = PPOParameters(
        steps=3072, epochs=2, minibatch_size=64, checkpoint_steps=512, normalize_observations=True, seed=3
    )
    environment, parameters = EnvironmentParameters(num_envs=4), AgentParameters(hidden=(16, 16))
    made = Recipe.of(code="", environment=environment, agent=parameters, train=recipe)
    checkpoints = Checkpoints(folder, made)
    run = AgentTrainer(environment, parameters, recipe, device="cpu", tracker=NoTracker(), checkpoints=checkpoints)
    run.run()
    print(hash_of(run.state_dict()))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(place: str, number: int) -> None:
    counts = dict.fromkeys(("step", "save", "validation"), 0)

    def reached(what: str) -> bool:
        counts[what] += 1
        return counts[what] == number

    def before(owner: object, name: str, what: str, place_of_it: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: object, **options: object) -> object:
            if reached(what) and place == place_of_it:
                _die()
            return original(*arguments, **options)

        setattr(owner, name, watched)

    before(TrainStep, "run", "step", "step")
    before(AgentTrainer, "_update", "step", "step")
    before(loop.Trainer, "_validate", "validation", "validation")
    _watch_saves(place, number)
    if place == "step half done":
        original = ForwardBackward.__call__

        def half(self: ForwardBackward, *arguments: Any) -> Any:
            made = original(self, *arguments)
            if counts["step"] == number:
                _die()
            return made

        ForwardBackward.__call__ = half  # type: ignore[assignment]  # it takes what it passes on


def _watch_saves(place: str, number: int) -> None:
    save, replace, state = torch.save, Path.replace, {"saves": 0}

    def watched_save(content: object, path: Path) -> None:
        state["saves"] += 1
        save(content, path)
        if place == "save" and state["saves"] == number:
            with Path(path).open("r+b") as file:
                file.truncate(Path(path).stat().st_size // 2)
            _die()

    def watched_replace(self: Path, target: Path) -> Path:
        is_now, is_list = state["saves"] == number, Path(target).name == checkpoint.MANIFEST
        if is_now and (place, is_list) in (("save unnamed", False), ("save unlisted", True)):
            _die()
        result = replace(self, target)
        if is_now and place == "save listed" and is_list:
            _die()
        return result

    torch.save = watched_save  # type: ignore[assignment]  # the loop gives it no more than this
    Path.replace = watched_replace  # type: ignore[assignment]  # as above


if __name__ == "__main__":
    main()
