"""Every runner that runs here, on ResNet-50 at 224 px and EfficientNet-B3 at 300 px: milliseconds, in turn, in one run.

On a GPU: torch eager and torch.compile with CUDA graphs in fp32, fp16 and bf16, ONNX Runtime on CUDA where it is
installed, all under an enforced cap of 8 GiB, weights random: speed does not depend on them. On a CPU the same in
float32; INT8 there has a benchmark of its own (int8_cpu.py).
Run it with `make bench-runners`; without the project's environment: `PYTHONPATH=src python3 benchmarks/runners.py`.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from eightgig.bench.latency import measure_latency
from eightgig.bench.parameters import LatencyParameters
from eightgig.core.device import describe_device
from eightgig.core.errors import ExportError
from eightgig.core.units import GIB, mib
from eightgig.export.runners import Feeds, Runner
from eightgig.export.torch_compile_runner import TorchCompileRunner
from eightgig.export.torch_runner import TorchRunner

NETWORKS = {"resnet50": 224, "efficientnet_b3": 300}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Opening = Callable[[], Runner]


def build(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Give the network with random weights, always the same."""
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=1000)
    return network.eval().to(dtype)


def openings(name: str, feeds: Feeds, device: str, *, compiles: bool) -> Iterator[tuple[str, Opening]]:
    """Give each runner's name, and how to open it."""
    for kind, dtype in DTYPES.items() if device == "cuda" else [("fp32", torch.float32)]:
        yield f"torch eager {kind}", lambda dtype=dtype: TorchRunner(build(name, dtype), device)
        if compiles:
            yield f"torch.compile {kind}", lambda dtype=dtype: TorchCompileRunner(build(name, dtype), feeds, device)
    if not find_spec("onnxruntime") or not find_spec("onnx"):
        return
    from eightgig.export.half import to_half
    from eightgig.export.onnx import export_onnx
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    fp32 = partial(export_onnx, build(name), torch.from_numpy(feeds["images"]), card={})
    files: dict[str, Callable[[], bytes]] = {"fp32": fp32, "fp16": lambda: to_half(fp32())}
    for kind in files if device == "cuda" else ("fp32",):
        yield (
            f"ONNX Runtime {kind}",
            lambda kind=kind: OnnxRuntimeRunner(files[kind](), provider=provider, claimed=kind),
        )


def measure(name: str, device: str, parameters: LatencyParameters, *, compiles: bool) -> dict[str, object]:
    """Give a row a runner: milliseconds by batch size, and how many times torch eager in float32."""
    side = NETWORKS[name]
    feeds = {"images": np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)}
    rows: dict[str, object] = {}
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for title, opening in openings(name, feeds, device, compiles=compiles):
            try:
                runners[title] = stack.enter_context(opening())
            except ExportError as error:
                rows[title] = {"problem": str(error)}
        reports = measure_latency(runners, feeds, parameters=parameters)
        for title, runner in runners.items():
            speed = {
                str(size): report.model_dump()
                | {"x_eager_fp32": reports["torch eager fp32"][size].p50_ms / report.p50_ms}
                for size, report in reports[title].items()
            }
            rows[title] = {"describe": runner.describe(), "by_batch_size": speed}
            print(
                name,
                title,
                {size: f"{row['p50_ms']:.2f} ms, {row['x_eager_fp32']:.2f} x" for size, row in speed.items()},
            )
    if device == "cuda":
        rows["peak_allocated_mib"] = mib(torch.cuda.max_memory_allocated())
    return rows


def main() -> None:
    """Measure and write `benchmarks/results/runners-<device>.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="longest time for one network and batch size")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=None)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    card = describe_device(device)
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, 8 * GIB / total))
    sizes = tuple(arguments.batch_sizes or ((1, 8, 32) if device == "cuda" else (1, 16)))
    parameters = LatencyParameters(batch_sizes=sizes, rounds=100, calls_per_turn=5, seconds=arguments.seconds)
    result = {
        "what": "milliseconds of one call, numpy in to numpy out, runners in turn",
        "device": card,
        "allocator_cap_gib": 8 if device == "cuda" else None,
        "torch": torch.__version__,
        "num_threads": torch.get_num_threads(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "networks": {n: measure(n, device, parameters, compiles=not arguments.no_compile) for n in NETWORKS},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / ("runners-" + "-".join(card.split(",")[0].lower().split()) + ".json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
