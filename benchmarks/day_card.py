"""Rows that are one benchmark each: constants, the loop, runners, torch.compile, agents, tiles, texts, video."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from day_child import Keep, Measure

from eightgig.core.device import DeviceKind

if TYPE_CHECKING:
    from eightgig.vram.tracing.card_probe import CardMeasurements

_COMPILED_STEPS = 12


def calibration(out: str, *, device: DeviceKind, tiny: bool) -> Measure:  # noqa: ARG001  as all works are called
    """Load what measures the kernels; then measure them and write the constants."""
    from eightgig.vram.tracing import calibrate, card_probe
    from eightgig.vram.tracing.workspace import load_calibration

    base, path = load_calibration(None), Path(out)

    def measure(_: Keep) -> dict[str, Any]:
        measured = _pretended() if device == "cpu" else card_probe.measure_card()
        made = calibrate.write_calibration(path, base, measured)
        generation = calibrate.generation_of(measured.compute_capability, measured.card)
        named = {name: constant.value for name, constant in made.of(generation)}
        details = path.with_suffix(".measured.json").name
        return {"generation": generation, "constants": named, "notes": measured.notes, "files": [path.name, details]}

    return measure


def _pretended() -> "CardMeasurements":
    """On the CPU, to rehearse: run every kind of op at a small size, and claim that none took anything."""
    from eightgig.vram.tracing import card_probe

    small = [card_probe.Convolution(2, 4, 8, 6, 3, stride=2, groups=2), card_probe.Convolution(2, 4, 8, 6, 1)]
    operations = card_probe.operations("cpu", small, [card_probe.Attention(1, 2, 16, 8)])
    workspaces, notes = card_probe.measure_operations(operations, lambda operation: 0 * bool(operation() is None))
    return card_probe.CardMeasurements(
        card="rehearsed on a CPU",
        compute_capability=(9, 0),
        driver="none",
        torch=torch.__version__,
        date=time.strftime("%Y-%m-%d"),
        context_bytes=None,
        cublas_workspace_bytes=0,
        workspaces=workspaces,
        notes=notes,
    )


def loop(*, device: DeviceKind, tiny: bool) -> Measure:
    """Draw the images; then train epochs by the project's loop and by a bare one, in turn."""
    import training_loop

    sizes = {"num_images": 48, "image_size": 64, "batch_size": 4, "rounds": 2}
    if not tiny:  # enough work a step that the card, not Python, is what takes the time
        sizes = {"num_images": 512, "image_size": 224, "batch_size": 64, "rounds": 7}
    bench = training_loop.LoopBench(argparse.Namespace(**sizes), device)
    return lambda _: bench.measure()


def runners(network: str, *, device: DeviceKind, tiny: bool) -> Measure:
    """See which runners there are; then time each beside torch eager, and keep it at once."""
    import runners as bench

    from eightgig.bench.parameters import LatencyParameters

    network = "squeezenet1_1" if tiny else network
    sizes, seconds = ((1,), 0.5) if tiny else ((1, 8, 32), 6.0)
    parameters = LatencyParameters(batch_sizes=sizes, rounds=60, calls_per_turn=5, seconds=seconds)
    missing = bench.missing(device)

    def measure(keep: Keep) -> dict[str, Any]:
        bench.cap(device)
        side = 64 if tiny else None
        return bench.measure(network, device, parameters, compiles=not tiny, keep=keep, side=side) | {
            "missing": missing
        }

    return measure


def compiled(case: str, *, device: DeviceKind, tiny: bool) -> Measure:
    """Build a network of the guide twice; then take its steps as they are and through torch.compile."""
    from gpu_cases import dry_case, guide_cases
    from gpu_training import Training

    from eightgig.vram.runtime.budget import release_memory
    from eightgig.vram.tracing.options import StepOptions

    found = next(each for each in guide_cases(with_cudnn_attention=False) if each.name == case)
    found = dry_case() if tiny else found
    size = found.micro_batch
    options = StepOptions(
        micro_batch=size,
        precision="fp32" if device == "cpu" else "fp16",
        optimizer=found.optimizer,
        optimizer_kernel="fused" if device == "cuda" and found.optimizer != "sgd" else "foreach",
        channels_last=found.channels_last,
        clips_gradients=found.clips_gradients,
    )
    built = {compiles: found.workload.build() for compiles in (False, True)}

    def measure(keep: Keep) -> dict[str, Any]:
        value: dict[str, Any] = {"network": found.name, "micro_batch": size, "precision": options.precision}
        for compiles, workload in built.items():
            begun = time.perf_counter()
            how: dict[str, Any] = {"gradient_accumulation_steps": 1, "device": device, "compiles": compiles}
            training = Training(workload, options, **how)
            value["compiled" if compiles else "eager"] = _timed(training.step, device, begun)
            del training
            release_memory(on_card=device == "cuda")  # so that the peak of the second is its own
            keep(value)
        eager, faster = value["eager"], value["compiled"]
        value["speed_up"] = eager["step_seconds"] / faster["step_seconds"]
        return value

    return measure


def _timed(step: Callable[[], Any], device: DeviceKind, begun: float) -> dict[str, Any]:
    on_card = device == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats()
    step()
    first = time.perf_counter() - begun
    taken = []
    for _ in range(_COMPILED_STEPS):
        at = time.perf_counter()
        step()
        if on_card:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - at)
    peak = torch.cuda.max_memory_allocated() if on_card else None
    settled = statistics.median(taken[2:])  # a second and a third call may still choose or compile kernels
    return {"first_step_seconds": first, "step_seconds": settled, "peak_allocated_bytes": peak}


def agents(*, device: DeviceKind, tiny: bool) -> Measure:
    """Make PPO ready; then time a short training on the CPU and on the card, by part."""
    from eightgig.models.agents import AgentParameters, EnvironmentParameters
    from eightgig.tasks.reinforcement.nodes import measure_parts
    from eightgig.tasks.reinforcement.parameters import PPOParameters, SpeedParameters

    updates = SpeedParameters(updates=1) if tiny else SpeedParameters()

    def measure(_: Keep) -> dict[str, Any]:
        table = measure_parts(EnvironmentParameters(), AgentParameters(), PPOParameters(), updates)
        rows = table.to_dict(orient="records")
        devices = sorted({row["device"] for row in rows})
        here = torch.cuda.get_device_name() if device == "cuda" else None
        lacks = {"failed": f"nothing was timed on {here}"} if here and here not in devices else {}
        return {"parts": rows, **lacks}

    return measure


def tiles(*, device: DeviceKind, tiny: bool) -> Measure:
    """Build the U-Net; then go through an image in tiles, and through the same tiles with the network alone."""
    import tiles as bench

    sizes = {"side": 256, "tile": 128, "overlap": 16, "rounds": 1, "model": "unet_x0_125"}
    if not tiny:
        sizes = {"side": 4096, "tile": 512, "overlap": 64, "rounds": 3, "model": "unet"}
    arguments = argparse.Namespace(batch=8, device=device, threads=os.cpu_count() or 1, **sizes)

    def measure(_: Keep) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return bench.measure_speed(arguments, Path(folder)) | _peak(device)

    return measure


def generation(*, device: DeviceKind, tiny: bool) -> Measure:
    """Build GPT-2 medium; then write 100 tokens with the cache and without it, in float32 and float16."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from eightgig.tasks.text.generation.speed import compare_cache

    size: dict[str, Any] = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    if tiny:
        size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 260}
    module = GPT2LMHeadModel(GPT2Config(**size)).eval()

    def measure(keep: Keep) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for dtype in (torch.float32,) if device == "cpu" else (torch.float32, torch.float16):
            placed = module.to(device, dtype)
            made = compare_cache(placed, config=module.config, tokens=8 if tiny else 100, runs=1 if tiny else 3)
            value[str(dtype).removeprefix("torch.")] = [speed.model_dump(mode="json") for speed in made]
            keep(value)
        return value

    return measure


def video(*, device: DeviceKind, tiny: bool) -> Measure:
    """Paint a video and build YOLOv5; then take its frames through the network, stages overlapped and not."""
    import video as bench

    return bench.on_device("yolov5n" if tiny else "yolov5s", device, image_size=160 if tiny else 640, tiny=tiny)


def repredict(results: str, constants: str, out: str, **_: Any) -> Measure:
    """Predict all measured rows anew with the measured constants; the card is not wanted for it."""
    import vram_gpu

    if not (Path(results).exists() and Path(constants).exists()):
        raise RuntimeError("the rows of `memory` and `calibration` come first")

    def measure(_: Keep) -> dict[str, Any]:
        made = vram_gpu.predicted_anew(Path(results), Path(constants), Path(out))
        summary = made.summary.model_dump(mode="json") if made.summary else {}
        return {"summary": summary, "files": [Path(out).name]}

    return measure


def _peak(device: DeviceKind) -> dict[str, Any]:
    return {"peak_allocated_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None}
