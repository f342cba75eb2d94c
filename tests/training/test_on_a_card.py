"""What a card would show, held without one: waits in a step, plain numbers in a checkpoint, memory given back."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from eightgig.core.tracker import NoTracker
from eightgig.training.checkpointing.history import EpochSums
from eightgig.training.checkpointing.progress import BestEpoch, TrainingProgress
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer
from eightgig.vram.runtime.measure import CacheClearings
from eightgig.vram.runtime.memory_probe import ResidentMemoryProbe
from eightgig.vram.runtime.recorder import FlightRecorder

CHILD = Path(__file__).with_name("waiting_child.py")


def test_a_step_waits_once_for_the_card():
    """For the loss and the norm, together: they decide whether the optimizer steps. Nothing else is read or blocks."""
    steps = ["classifier fp16", "classifier fp32", "segmenter fp16", "detector fp16"]
    done = subprocess.run([sys.executable, "-W", "ignore", CHILD, *steps], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    waits = json.loads(done.stdout)
    assert list(waits) == steps
    for step, (seen, *more) in waits.items():
        assert not more, (step, seen, more)
        assert seen.startswith("tolist at forward_backward.py"), step
        assert "loss_sum" in seen, step
        assert "norm" in seen, step


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


def test_a_checkpoint_holds_no_tensors_but_those_of_networks_and_optimizers():
    """Norms that were kept as tensors came back on the CPU, and could not be put beside those of a card."""
    progress = TrainingProgress(BestEpoch({"weight": torch.ones(2)}))
    progress.sums.add(3.0, 4, 1.5)
    progress.sums.add(1.0, 4, 0.5)
    state = progress.state_dict()
    assert not list(tensors_in({name: value for name, value in state.items() if name != "best"}))
    again = TrainingProgress.from_state_dict(
        json.loads(json.dumps({**state, "best": {"weights": {}, "epoch": 0, "score": 0.0}}))
    )
    assert again.sums == progress.sums
    assert (again.sums.norm_mean, again.sums.norm_max) == (1.0, 1.5)


def test_an_epoch_that_is_cut_anywhere_has_the_sums_of_one_that_is_not():
    norms = [0.1 * number for number in range(1, 8)]
    whole = EpochSums()
    for norm in norms:
        whole.add(norm, 2, norm)
    for cut in range(len(norms)):
        progress = TrainingProgress(BestEpoch({}))
        for norm in norms[:cut]:
            progress.sums.add(norm, 2, norm)
        progress = TrainingProgress.from_state_dict(progress.state_dict())
        for norm in norms[cut:]:
            progress.sums.add(norm, 2, norm)
        assert progress.sums == whole


@pytest.fixture
def make_trainer(objective, make_module, make_memory_plan):
    def make(recorder=None, plan=None, **recipe):
        parameters = TrainParameters(epochs=1, **recipe)
        plan = make_memory_plan(**(plan or {}))
        return Trainer(
            make_module(), objective, plan=plan, parameters=parameters, steps=9, tracker=NoTracker(), recorder=recorder
        )

    return make


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_closed_trainer_leaves_nothing_to_the_garbage_collector(precision, make_trainer, make_loader):
    """What accelerate wraps is cycles: optimizer state stayed on the card until Python happened to look for them."""
    gc.collect()
    gc.disable()
    try:
        trainer = make_trainer(plan={"precision": precision}, ema_decay=0.9)
        module, result = trainer.state.module, trainer.fit(make_loader(8, 4), make_loader(4, 4))
        state = [weakref.ref(value) for values in trainer.state.optimizer.state.values() for value in values.values()]
        averages = [weakref.ref(tensor) for tensor in trainer.state.average._averages]
        assert state
        trainer.close()
        del trainer
        assert not any(reference() is not None for reference in (*state, *averages))
        assert "forward" not in vars(module)
        weights = weakref.ref(next(module.parameters()))
        del module, result
        assert weights() is None
    finally:
        gc.enable()


def test_the_cache_is_given_back_every_so_many_steps(make_trainer, make_loader, make_memory_plan, tmp_path):
    class MemoryProbe(ResidentMemoryProbe):
        def empty_cache(self):
            return 3

    recorder = FlightRecorder(make_memory_plan(), tmp_path, memory_probe=MemoryProbe())
    trainer = make_trainer(recorder, empty_cache_every=3)
    batch = [next(iter(make_loader(4, 4)))]
    for _ in range(7):
        trainer.train_step.run(batch)
    cleared = recorder.report().cache_clearings
    assert (cleared.count, cleared.given_back_bytes) == (2, 6)
    assert cleared.seconds > 0


def test_by_default_the_cache_is_kept(make_trainer, make_loader):
    trainer = make_trainer()
    trainer.train_step.run([next(iter(make_loader(4, 4)))])
    assert trainer.train_step.recorder.report().cache_clearings == CacheClearings()


@pytest.mark.gpu
def test_on_a_card_the_memory_is_back_after_a_run(make_trainer, make_loader):
    before = torch.cuda.memory_allocated()
    trainer = make_trainer(plan={"device": "cuda", "precision": "fp16", "optimizer_kernel": "fused"})
    module = trainer.state.module
    trainer.fit(make_loader(8, 4), make_loader(4, 4))
    assert torch.cuda.memory_allocated() > before
    trainer.close()
    assert next(module.parameters()).device.type == "cpu"
    del trainer
    assert torch.cuda.memory_allocated() <= before + 2**20  # a library's workspace stays


@pytest.mark.gpu
def test_on_a_card_a_step_synchronises_once(make_trainer, make_loader):
    trainer = make_trainer(plan={"device": "cuda", "precision": "fp16", "optimizer_kernel": "fused"})
    batch = [{name: value.pin_memory() for name, value in next(iter(make_loader(4, 4))).items()}]
    trainer.train_step.run(batch)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="called a synchronizing CUDA operation") as seen:
            trainer.train_step.run(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # The points' objective itself copies its batch in the blocking way: two tensors.
    assert len([warning for warning in seen if "synchronizing" in str(warning.message)]) <= 3
    trainer.close()


@pytest.mark.gpu
def test_on_a_card_the_network_computes_as_the_plan_says():
    from eightgig.vram.plan import Numerics
    from eightgig.vram.runtime.execution import computing_as

    torch.manual_seed(0)
    x = torch.randn(512, 512, device="cuda")
    exact = (x.double() @ x.double()).float()
    errors = {}
    for tf32 in ("never", "convolutions", "always"):
        with computing_as(Numerics(tf32=tf32)):
            errors[tf32] = (x @ x - exact).abs().max().item()
    assert errors["never"] == errors["convolutions"] < 1e-3
    if torch.cuda.get_device_capability() >= (8, 0):
        assert errors["always"] > 10 * errors["never"]
