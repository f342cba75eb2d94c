"""INT8 in ONNX Runtime on this CPU against torch eager float32, batch 1: ResNet-50 at 224, EfficientNet-B3 at 300.

All run in turn, round by round, so that a machine that slows down slows all; a ratio is that of the medians. Weights
are random: this is about speed, and the signal to noise speaks of the arithmetic alone.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torchvision
from torch import nn

from eightgig.bench.latency import measure_latency
from eightgig.bench.parameters import LatencyParameters
from eightgig.core.device import describe_device
from eightgig.export.int8.calibration import calibrate
from eightgig.export.int8.parameters import QuantizeParameters
from eightgig.export.int8.quantizer import quantize
from eightgig.export.int8.records import Int8Recipe
from eightgig.export.onnx import export_onnx
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.runners import Runner
from eightgig.export.torch_compile_runner import TorchCompileRunner
from eightgig.export.torch_runner import TorchRunner

NETWORKS = {"resnet50": (224, 2.5), "efficientnet_b3": (300, 1.5)}
# The `matrix` files show what is lost when what lies between the layers is left in float.
RECIPES = {
    "uint8": Int8Recipe(target="int8_cpu", method="minmax", weight_type="uint8"),
    "int7": Int8Recipe(target="int8_cpu", method="minmax", weight_type="int7"),
    "int8": Int8Recipe(target="int8_cpu", method="minmax", weight_type="int8"),
    "int7_matrix": Int8Recipe(target="int8_cpu", method="minmax", weight_type="int7", operators="matrix"),
    "int8_trt": Int8Recipe(target="int8_trt", method="minmax", weight_type="int8", operators="matrix"),
}
# `int8` saturates where products are not exact, and `int8_trt` is for another runtime: neither can meet the bar.
COUNTED = ("uint8", "int7")


def build(name: str, side: int) -> nn.Module:
    """Return the network with the statistics of its own activations, so that ranges are ordinary."""
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(4, 3, side, side))
    return network.eval()


def contenders(network: nn.Module, side: int, *, compiled: bool) -> Iterator[tuple[str, Runner]]:
    """Yield each way to run the network, by name, not yet opened."""
    yield "torch_eager", TorchRunner(network)
    if compiled:
        example = {"images": np.zeros((1, 3, side, side), np.float32)}
        yield "torch_compile_freezing", TorchCompileRunner(copy.deepcopy(network), example)
    fp32 = export_onnx(network, {"images": torch.zeros(1, 3, side, side)}, card={})
    images = np.random.default_rng(0).standard_normal((8, 3, side, side), dtype=np.float32)
    parameters = QuantizeParameters(calibration_images=8, methods=("minmax",))
    found = calibrate(fp32, [{"images": images}], parameters=parameters)
    files = {"onnx_fp32": fp32} | {f"onnx_{name}": quantize(found, recipe) for name, recipe in RECIPES.items()}
    for name, file in files.items():
        yield name, OnnxRuntimeRunner(file, name=name)


def measure(name: str, side: int, bar: float, *, seconds: float, compiled: bool) -> dict[str, object]:
    """Return the times and ratios of one network."""
    feeds = {"images": np.random.default_rng(1).standard_normal((1, 3, side, side), dtype=np.float32)}
    with ExitStack() as stack:
        opened = contenders(build(name, side), side, compiled=compiled)
        runners = {other: stack.enter_context(runner) for other, runner in opened}
        predictions = {other: runner.run(feeds)["logits"] for other, runner in runners.items()}
        parameters = LatencyParameters(batch_sizes=(1,), rounds=1000, calls_per_turn=5, seconds=seconds)
        reports = measure_latency(runners, feeds, parameters=parameters)
    right = predictions["torch_eager"]
    noise = {other: float(np.square(answer - right).mean() / right.var()) for other, answer in predictions.items()}
    rows = {
        other: {
            "p50_ms": round(report[1].p50_ms, 2),
            "p99_ms": round(report[1].p99_ms, 2),
            "num_runs": report[1].num_runs,
            "speedup_vs_eager": round(reports["torch_eager"][1].p50_ms / report[1].p50_ms, 3),
            "signal_to_noise_db": round(-10 * float(np.log10(max(noise[other], 1e-15))), 1),
        }
        for other, report in reports.items()
    }
    best = max(rows[f"onnx_{recipe}"]["speedup_vs_eager"] for recipe in COUNTED)
    return {"image_size": side, "bar": bar, "best_int8_speedup": best, "met": best >= bar, "runners": rows}


def main() -> None:
    """Measure, print and keep the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="longest time of one network")
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    options.add_argument("--compile", action="store_true", help="torch.compile with freezing too: minutes")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = options.parse_args()
    result = {
        "device": describe_device("cpu"),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "options": {"seconds": arguments.seconds, "compile": arguments.compile},
        "networks": {
            name: measure(name, *NETWORKS[name], seconds=arguments.seconds, compiled=arguments.compile)
            for name in arguments.networks
        },
    }
    print(json.dumps(result, indent=2))
    name = "int8_cpu-" + "-".join(describe_device("cpu").split(",")[0].lower().split()) + ".json"
    (arguments.results / name).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
