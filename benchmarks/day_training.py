"""Rows of training runs: the recipes as planned, a shortage that is recovered from, and going on exactly."""

import json
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from day_child import Keep, Measure
from day_jobs import Recipe, make_store, recipe_of

from eightgig.core.device import DeviceKind

if TYPE_CHECKING:
    from eightgig.stages.training_job import TrainingJob
    from eightgig.vram.plan import MemoryPlan

# Optimizer steps an epoch, and epochs: the first loads kernels and starts the loader's processes, the last is speed.
_STEPS, _EPOCHS = 6, 3
_DRAWN = 96  # samples in a store; an epoch goes through them more than once


def recipe(
    case: str, plan: dict[str, Any], stores: str, *, device: DeviceKind, tiny: bool, lever: str | None = None
) -> Measure:
    """Make a recipe's run ready; then train it as the train stage does, under the plan's budget."""
    from eightgig.vram.plan import MemoryPlan

    _import_the_rest()
    made = recipe_of(case, device=device, tiny=tiny, lever=lever, **_short(1 if tiny else _EPOCHS))
    planned = MemoryPlan.model_validate(plan)
    job = _job(made, planned, case, Path(stores), tiny=tiny, steps=2 if tiny else _STEPS)
    network, objective = job.network()
    # Torch prefers cuDNN's attention on H100 and B200, which no GeForce card does, and no plan counts on.
    torch.backends.cuda.enable_cudnn_sdp(False)

    def measure(_: Keep) -> dict[str, Any]:
        return _as_row(planned, job, job.run(network, objective, None), made)

    return measure


def recovery(stores: str, *, device: DeviceKind, tiny: bool) -> Measure:
    """Train with half the micro-batch; then under a cap that the whole one does not fit, and compare the weights."""
    from eightgig.vram.runtime.budget import release_memory

    make = _deterministic_runs("flower_classifier", Path(stores), device, tiny)

    def measure(keep: Keep) -> dict[str, Any]:
        half, whole = (2, 4) if tiny else (16, 32)
        planned, _ = make(half, 8.0)()
        reserved = max(phase.peak_reserved_bytes or 0 for phase in planned.measured)
        keep({"reserved_by_half_bytes": reserved})
        # What the first run leaves behind would count against the second one's cap.
        release_memory(on_card=device == "cuda")
        run = make(whole, _short_budget(reserved) if device == "cuda" else 8.0, short=device == "cpu")
        recovered, final = run()
        return {
            "reserved_by_half_bytes": reserved,
            "recovered": [each.model_dump(mode="json") for each in recovered.recovered],
            "final": final,
            **_compared(planned.best_state, recovered.best_state),
        } | _refused(not recovered.recovered, "memory did not run out: nothing was recovered from")

    return measure


def resume(case: str, stores: str, *, device: DeviceKind, **_: Any) -> Measure:
    """Train a run that is stopped in the middle of an epoch and gone on with, and one that is not; compare weights."""
    make = _deterministic_runs(case, Path(stores), device, tiny=True)

    def measure(keep: Keep) -> dict[str, Any]:
        whole, _ = make(4, 8.0)()
        keep({"whole_run": [row.train_loss for row in whole.history]})
        with tempfile.TemporaryDirectory() as folder:
            scaler = make(4, 8.0, folder=Path(folder))(stop_after=3)
            resumed, _ = make(4, 8.0, folder=Path(folder))()
        return {
            "scaler_at_the_stop": scaler,
            "same_history": _losses(whole) == _losses(resumed),
            **_compared(whole.best_state, resumed.best_state),
        }

    return measure


def _import_the_rest() -> None:
    """Import what a run imports when it begins: seconds that the card need not wait for."""
    from eightgig.stages import training_job  # noqa: F401
    from eightgig.vram.runtime import budget, execution, offload, recompute, recorder  # noqa: F401


def _short(epochs: int) -> dict[str, Any]:
    # No progressive sizes: the plan is for the full one. Checkpoints go to a folder that is thrown away.
    return {"epochs": epochs, "resume": "never", "checkpoint_minutes": 60.0}


def _job(
    made: Recipe, plan: "MemoryPlan", case: str, stores: Path, *, tiny: bool, steps: int, folder: Path | None = None
) -> "TrainingJob":
    from eightgig.core.tracker import NoTracker
    from eightgig.stages.training_job import TrainingJob

    samples = 24 if tiny else _DRAWN
    name = f"{case}{'-tiny' if tiny else ''}.h5"
    store = make_store(case, stores / name, tiny=tiny, tokens=made.model.size, num_samples=samples)
    trained = [number % samples for number in range(steps * plan.effective_batch)]
    return TrainingJob(
        task=made.case,
        store=store,
        train_indices=trained,
        val_indices=[number % samples for number in range(plan.eval_batch)],
        size=made.model.size,
        plan=plan,
        model=made.model,
        train=made.train,
        checkpoints=folder or Path(tempfile.mkdtemp(prefix="gpu-day-")),
        flight_recorder=None,
        tracker=NoTracker(),
        single_process=True,
    )


def _as_row(plan: "MemoryPlan", job: "TrainingJob", result: Any, made: Recipe) -> dict[str, Any]:
    from eightgig.vram.trace import VramTrace

    final = plan.model_copy(update=result.final)
    trace = VramTrace.of(plan, result.measured, final_plan=final, recovered=result.recovered)
    unit = "images" if hasattr(made.model, "image_size") else "tokens"
    samples = [row.samples_per_second for row in result.history]
    factor = 1 if unit == "images" else made.model.size
    return {
        "plan": plan.sentence(),
        "predicted_step_seconds": plan.seconds_per_step,
        "findings": [finding.code for finding in plan.findings],
        "errors": {phase.phase: phase.error_fraction for phase in trace.phases},
        "memory": trace.model_dump(mode="json"),
        "steps_an_epoch": len(job.train_indices) // plan.effective_batch,
        f"{unit}_per_second": [round(factor * each, 1) for each in samples],
        "val_seconds": [row.val_seconds for row in result.history],
        "skipped_steps": sum(row.skipped_steps for row in result.history),
        "train_loss": [row.train_loss for row in result.history],
    }


def _deterministic_runs(case: str, stores: Path, device: DeviceKind, tiny: bool) -> Callable[..., Callable[..., Any]]:
    """Return what makes runs whose sums are the same each time; without that a GPU's own differ from run to run."""
    _import_the_rest()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    made = recipe_of(case, device=device, tiny=tiny, **{**_short(2), "resume": "auto", "ema_decay": 0.9})
    precision = "fp16" if device == "cuda" else "fp32"
    largest = 4 if tiny else 32

    def make(
        micro_batch: int, budget_gib: float, *, short: bool = False, folder: Path | None = None
    ) -> Callable[..., Any]:
        gradient_accumulation_steps = 2 * largest // micro_batch
        layout = "channels_last" if made.case.channels_last else "contiguous"
        plan = plan_by_hand(device, precision, micro_batch, gradient_accumulation_steps, layout, budget_gib)
        job = _job(made, plan, case, stores, tiny=tiny, steps=3, folder=folder)

        def run(*, stop_after: int = 0) -> Any:
            network, objective = job.network()
            if short:
                _run_out_once(objective, micro_batch)
            return _stopped(job, network, objective, stop_after) if stop_after else _finished(job, network, objective)

        return run

    make(largest, 8.0)  # the store is drawn before the go
    return make


def plan_by_hand(
    device: DeviceKind, precision: str, micro: int, gradient_accumulation_steps: int, layout: str, gib: float
) -> "MemoryPlan":
    """Return a plan that no planner made: for runs that want to know what happens."""
    from eightgig.core.units import bytes_from_gib
    from eightgig.vram.plan import MemoryPlan, PhaseMemory

    phases = ("train", "validate", "checkpoint", "export")
    values: dict[str, Any] = {
        "model": "by hand",
        "sample": "as in the recipe",
        "device": device,
        "device_name": device,
        "micro_batch": micro,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "eval_batch": micro,
        "precision": precision,
        "activation_checkpointing": "none",
        "optimizer_kernel": "fused",
        "memory_format": layout,
        "budget_gib": gib,
        "context_bytes": 0,
        "budget_bytes": bytes_from_gib(gib),
        "predicted": tuple(PhaseMemory(phase=phase, device=device) for phase in phases),
        "expected_bytes": 0,
        "needed_bytes": 0,
        "predicted_reserved_bytes": 0,
        "margin_bytes": 0,
        "fits": True,
        "method": "none: this run wants to know what happens",
    }
    return MemoryPlan(**values)


def _short_budget(reserved_by_half: int) -> float:
    """Return the budget that half the micro-batch fits and the whole one does not: a fifth more than the half took."""
    from eightgig.core.units import gib
    from eightgig.vram.runtime.card_memory import measured_context

    return gib(round(1.2 * reserved_by_half) + measured_context(0).num_bytes)


def _run_out_once(objective: Any, rows: int) -> None:
    """On the CPU, where nothing is capped: let whole micro-batches fail as a full card does."""
    loss_sum = objective.loss_sum

    def short(module: Any, batch: Any, device: torch.device) -> torch.Tensor:
        if len(next(iter(batch.values()))) >= rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        made: torch.Tensor = loss_sum(module, batch, device)
        return made

    objective.loss_sum = short


def _finished(job: "TrainingJob", network: Any, objective: Any) -> tuple[Any, dict[str, int]]:
    result = job.result(network, objective)
    return result, dict(result.final)


def _stopped(job: "TrainingJob", network: Any, objective: Any, after: int) -> Any:
    """Let Ctrl-C come in a step, and give what the checkpoint holds of the gradient scaler."""
    from eightgig.core.stop import Stopped
    from eightgig.training.train_step import TrainStep

    step, done = TrainStep.run, 0

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal done
        made = step(self, *arguments, **options)
        done += 1
        if done == after:
            signal.raise_signal(signal.SIGINT)
        return made

    TrainStep.run = watched  # type: ignore[method-assign]
    try:
        job.result(network, objective)
    except Stopped:
        pass
    else:
        raise RuntimeError(f"the run was over before step {after}: nothing was stopped")
    finally:
        TrainStep.run = step  # type: ignore[method-assign]
    kept = job.open_checkpoints().newest()
    assert kept is not None  # noqa: S101  a stop keeps one
    return kept.state["train_step"]["scaler"]


def _losses(result: Any) -> list[Any]:
    return json.loads(json.dumps([[row.train_loss, row.val_loss, row.gradient_norm] for row in result.history]))


def _compared(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return how two sets of weights differ; a difference is a failure of the row."""
    assert one.keys() == other.keys()  # noqa: S101  the same network
    pairs = [(tensor.float().cpu(), other[name].float().cpu()) for name, tensor in one.items()]
    same = all(torch.equal(mine, others) for mine, others in pairs)
    apart = max(float((mine - others).abs().max()) for mine, others in pairs if mine.numel())
    found = {"same_weights": same, "largest_difference": apart}
    return found | _refused(not same, f"weights differ by up to {apart:.3g}")


def _refused(wrong: bool, why: str) -> dict[str, Any]:
    return {"failed": why} if wrong else {}
