"""Every runner that runs here, on ResNet-50 at 224 px and EfficientNet-B3 at 300 px: milliseconds, each beside eager.

On a GPU: torch eager and torch.compile with CUDA graphs in fp32, fp16 and bf16, ONNX Runtime on CUDA where it is
installed, all under an enforced cap of 8 GiB, weights random: speed does not depend on them. On a CPU the same in
float32; INT8 there has a benchmark of its own (int8_cpu.py). What is not installed is seen first and is a row that says
so; each row is written as soon as it is done.
Run it with `make bench-runners`; without the project's environment: `PYTHONPATH=src python3 benchmarks/runners.py`.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from eightgig.bench.latency import measure_latency
from eightgig.bench.parameters import LatencyParameters
from eightgig.core.device import DeviceKind, describe_device
from eightgig.core.files import write_text
from eightgig.core.units import GIB, mib
from eightgig.export.runners import Feeds, Runner
from eightgig.export.torch_compile_runner import TorchCompileRunner
from eightgig.export.torch_runner import TorchRunner

NETWORKS = {"resnet50": 224, "efficientnet_b3": 300}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "onnxslim")
CUDA = "CUDAExecutionProvider"
Opening = Callable[[], Runner]
Keep = Callable[[dict[str, Any]], None]


def build(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the network with random weights, always the same."""
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=1000)
    return network.eval().to(dtype)


def missing(device: DeviceKind) -> dict[str, str]:
    """Return which runners this machine cannot open, and why: looked at before anything is compiled."""
    absent = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    why = f"package: {', '.join(absent)} not here" if absent else None
    if why is None and device == "cuda":
        import onnxruntime

        offered = onnxruntime.get_available_providers()
        why = None if CUDA in offered else f"package: this build of onnxruntime has no {CUDA} ({', '.join(offered)})"
    kinds = ("fp32", "fp16") if device == "cuda" else ("fp32",)
    return {} if why is None else {f"ONNX Runtime {kind}": why for kind in kinds}


def cap(device: DeviceKind) -> None:
    """Let torch's allocator hold 8 GiB and no more, whatever the card has."""
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, 8 * GIB / total))


def openings(name: str, feeds: Feeds, device: DeviceKind, *, compiles: bool) -> Iterator[tuple[str, Opening]]:
    """Yield each runner's name, and how to open it; the cheap ones first, so that little time brings much."""
    kinds = DTYPES if device == "cuda" else {"fp32": torch.float32}
    for kind, dtype in kinds.items():
        yield f"torch eager {kind}", partial(open_eager, name, device, dtype)
    yield from onnx_openings(name, feeds, device)
    for kind in (kind for kind in ("fp16", "bf16", "fp32") if compiles and kind in kinds):  # as it is deployed, first
        yield f"torch.compile {kind}", partial(open_compiled, name, device, kinds[kind], feeds)


def open_eager(name: str, device: DeviceKind, dtype: torch.dtype) -> Runner:
    """Return the network in torch's eager mode."""
    return TorchRunner(build(name, dtype), device)


def open_compiled(name: str, device: DeviceKind, dtype: torch.dtype, feeds: Feeds) -> Runner:
    """Return the network in torch.compile, compiled for these feeds."""
    return TorchCompileRunner(build(name, dtype), feeds, device)


def onnx_openings(name: str, feeds: Feeds, device: DeviceKind) -> Iterator[tuple[str, Opening]]:
    """Yield the same of ONNX Runtime, where it is installed."""
    if missing(device):
        return
    from eightgig.export.half import to_half
    from eightgig.export.onnx import export_onnx
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    provider = CUDA if device == "cuda" else "CPUExecutionProvider"
    images = {"images": torch.from_numpy(feeds["images"])}
    fp32 = partial(export_onnx, build(name), images, card={})
    files: dict[str, Callable[[], bytes]] = {"fp32": fp32, "fp16": lambda: to_half(fp32())}
    for kind in files if device == "cuda" else ("fp32",):

        def opening(kind: str = kind) -> Runner:
            return OnnxRuntimeRunner(files[kind](), provider=provider, claimed=kind)

        yield f"ONNX Runtime {kind}", opening


def measure(
    name: str, device: DeviceKind, parameters: LatencyParameters, *, compiles: bool, keep: Keep, side: int | None = None
) -> dict[str, Any]:
    """Return a row a runner, each timed in turn with torch eager in float32, which is open beside it.

    Args:
        name: of the network.
        device: where it runs.
        parameters: how often and how long.
        compiles: whether torch.compile is timed, too.
        keep: is given all rows so far after each.
        side: of the images; None takes the network's own.
    """
    side = side or NETWORKS[name]
    feeds = {"images": np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)}
    rows: dict[str, Any] = {title: {"problem": why} for title, why in missing(device).items()}
    with TorchRunner(build(name), device) as eager:
        for title, opening in openings(name, feeds, device, compiles=compiles):
            begun = time.perf_counter()
            try:
                with opening() as runner:
                    opened_s = round(time.perf_counter() - begun, 1)
                    rows[title] = {"opened_s": opened_s, **beside(eager, runner, feeds, parameters)}
            except Exception as error:  # noqa: BLE001  the others are still worth it, whatever it is
                rows[title] = {"problem": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
            print(name, title, rows[title].get("problem") or rows[title]["by_batch_size"], flush=True)
            keep(rows)
    if device == "cuda":
        rows["peak_allocated_mib"] = mib(torch.cuda.max_memory_allocated())
    return rows


def beside(eager: Runner, runner: Runner, feeds: Feeds, parameters: LatencyParameters) -> dict[str, Any]:
    """Return a runner's milliseconds by batch size, and how many times as fast as torch eager in float32 it is."""
    reports = measure_latency({"eager": eager, "this": runner}, feeds, parameters=parameters)
    speed = {
        str(size): report.model_dump() | {"x_eager_fp32": round(reports["eager"][size].p50_ms / report.p50_ms, 3)}
        for size, report in reports["this"].items()
    }
    return {"describe": runner.describe(), "by_batch_size": speed}


def main() -> None:
    """Measure and write `benchmarks/results/runners-<device>.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="longest time for one network and batch size")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=None)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    device: DeviceKind = "cuda" if torch.cuda.is_available() else "cpu"
    card = describe_device(device)
    cap(device)
    sizes = tuple(arguments.batch_sizes or ((1, 8, 32) if device == "cuda" else (1, 16)))
    parameters = LatencyParameters(batch_sizes=sizes, rounds=100, calls_per_turn=5, seconds=arguments.seconds)
    networks: dict[str, Any] = {}
    result: dict[str, Any] = {
        "what": "milliseconds of one call, numpy in to numpy out, each runner in turn with torch eager in float32",
        "device": card,
        "allocator_cap_gib": 8 if device == "cuda" else None,
        "torch": torch.__version__,
        "num_threads": torch.get_num_threads(),
        "networks": networks,
    }
    path = arguments.out / ("runners-" + "-".join(card.split(",")[0].lower().split()) + ".json")
    for name in NETWORKS:

        def keep(rows: dict[str, Any], name: str = name) -> None:
            networks[name] = rows
            result["at"] = datetime.now(UTC).isoformat(timespec="seconds")
            write_text(path, json.dumps(result, indent=2) + "\n")

        keep(measure(name, device, parameters, compiles=not arguments.no_compile, keep=keep))
    print(path)


if __name__ == "__main__":
    main()
