"""What distillation and pruning are worth: the same small networks trained alone and taught by the trained one.

It reads the store, splits, plan and weights of a finished run (`--data data/`), trains every form from the same start,
on the same batches, for as many epochs, with several seeds, and judges all on the TEST split. Latency is that of ONNX
Runtime on one image, form and teacher in turn, so that a machine that slows down slows both.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import torch
from torch import nn

from eightgig.core.device import describe_device
from eightgig.core.seeding import seed_everything
from eightgig.core.tracker import NoTracker
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.store.reader import ImageStore
from eightgig.datasets.weights import Weights, WeightsDataset
from eightgig.export.onnx import export_onnx
from eightgig.models.compression import CompressParameters
from eightgig.models.compression import Form as CompressedAs
from eightgig.models.network import complexity_of
from eightgig.stages.compress import CompressionWork
from eightgig.stages.trained import indices_of, restore
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.training.parameters import ClassifierTrainParameters
from eightgig.vram.plan import MemoryPlan

BARS = {"flops_removed": 0.30, "speed_up": 1.2, "points_lost": 1.5, "student_flops": 1 / 3, "points_gained": 1.0}


@dataclass(frozen=True)
class Form:
    """A network to train: as `stage` starts it, with the teacher or without."""

    name: str
    stage: CompressedAs
    taught: bool


FORMS = (
    Form("student_alone", "student", taught=False),
    Form("student_distilled", "student", taught=True),
    Form("pruned_alone", "pruned", taught=False),
    Form("pruned_distilled", "pruned_distilled", taught=True),
)


def load_run(data: Path, compress: CompressParameters, seed: int) -> CompressionWork:
    """Read what a finished run left."""
    case_name = "flower_classifier"
    inputs, models = data / "05_model_input" / case_name, data / "06_models" / case_name
    return CompressionWork(
        ImageClassifier(),
        WeightsDataset(filepath=str(models / "weights.safetensors")).load(),
        ImageStore(inputs / "store.h5"),
        pd.read_csv(inputs / "splits.csv"),
        MemoryPlan.model_validate_json((inputs / "memory_plan.json").read_text(encoding="utf-8")),
        recipe(seed),
        compress,
        checkpoints=data,  # each training has a folder of its own
        tracker=NoTracker(),
    )


def recipe(seed: int) -> ClassifierTrainParameters:
    """Return the built-in sample's recipe."""
    augment = AugmentParameters(crop_scale=(0.3, 1.0))
    return ClassifierTrainParameters(warmup_fraction=0.1, label_smoothing=0.1, augment=augment, seed=seed)


def train(work: CompressionWork, form: Form) -> Weights:
    """Train one form from its start; give its weights."""
    seed_everything(work.train.seed)
    network = work.start(form.stage)
    with tempfile.TemporaryDirectory(prefix="bench-compression-") as folder:
        alone = replace(work, checkpoints=Path(folder))
        result = alone.fit("student" if form.taught else "pruned", network, work.recipe(form.stage))
    return work.weights_of(form.stage, network, result)


def accuracy(work: CompressionWork, module: nn.Module) -> float:
    """Return the accuracy on the TEST split."""
    card, right, count = work.weights.card, 0, 0
    module.eval()
    for batch in work.task.eval_batches(
        work.store, indices_of(work.splits, "test"), size=card.image_size, batch_size=work.plan.eval_batch
    ):
        with torch.no_grad():
            right += int((module(work.task.inputs(card, batch)).argmax(1) == batch["labels"]).sum())
        count += len(batch["labels"])
    return right / count


def session(module: nn.Module, image_size: int) -> onnxruntime.InferenceSession:
    """Return ONNX Runtime's session of a network on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = export_onnx(module, {"images": torch.zeros(1, 3, image_size, image_size)}, card={})
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def speed_up(teacher: Any, smaller: Any, image_size: int, rounds: int) -> float:
    """Return the median over rounds, in which both run in turn, of teacher's time over the smaller one's."""
    image = np.zeros((1, 3, image_size, image_size), np.float32)
    ratios = []
    for number in range(rounds + 1):
        times = []
        for one in (teacher, smaller):
            begun = time.perf_counter()
            for _ in range(20):
                one.run(None, {one.get_inputs()[0].name: image})
            times.append(time.perf_counter() - begun)
        if number:  # the first round warms up
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def summary(rows: list[dict[str, Any]], teacher_accuracy: float) -> dict[str, Any]:
    """Return the medians over seeds, and which bars they meet; NaN, which meets none, for forms that were left out."""

    def median(form: str, key: str) -> float:
        found = [row[key] for row in rows if row["form"] == form]
        return statistics.median(found) if found else float("nan")

    gained = 100 * (median("student_distilled", "test_accuracy") - median("student_alone", "test_accuracy"))
    lost = 100 * (teacher_accuracy - median("pruned_alone", "test_accuracy"))
    found = {
        "flops_removed": 1 - median("pruned_alone", "flops_share"),
        "speed_up": median("pruned_alone", "speed_up"),
        "points_lost": lost,
        "student_flops": median("student_distilled", "flops_share"),
        "points_gained": gained,
    }
    at_most = {"points_lost", "student_flops"}
    met = {name: found[name] <= bar if name in at_most else found[name] >= bar for name, bar in BARS.items()}
    return {"medians": {name: round(value, 4) for name, value in found.items()}, "bars": BARS, "met": met}


def main() -> None:
    """Train, measure, print and keep the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--forms", nargs="+", choices=[f.name for f in FORMS], default=[f.name for f in FORMS])
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--compress", type=json.loads, default={}, help="of CompressParameters, as JSON")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = options.parse_args()
    work = load_run(arguments.data, CompressParameters(**arguments.compress), arguments.seeds[0])
    size = work.weights.card.image_size
    teacher = restore(work.task, work.weights)
    whole, teacher_session = work.complexity(teacher), session(teacher.module, size)
    teacher_accuracy = accuracy(work, teacher.module)
    rows = []
    for seed in arguments.seeds:
        seeded = replace(work, train=recipe(seed))
        for form in (form for form in FORMS if form.name in arguments.forms):
            network = restore(work.task, train(seeded, form))
            cost = complexity_of(network.module, work.dummy_input())
            row = {
                "form": form.name,
                "seed": seed,
                "num_parameters": cost.num_parameters,
                "flops": cost.flops,
                "flops_share": cost.flops / whole.flops,
                "test_accuracy": accuracy(work, network.module),
                "speed_up": speed_up(teacher_session, session(network.module, size), size, arguments.rounds),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    device = describe_device("cpu")
    result = {
        "device": device,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "compress": work.compress.model_dump(mode="json"),
        "teacher": {**whole.model_dump(), "model": work.weights.card.model, "test_accuracy": teacher_accuracy},
        **summary(rows, teacher_accuracy),
        "rows": rows,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=2))
    name = "compression-" + "-".join(device.split(",")[0].lower().split()) + ".json"
    (arguments.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
