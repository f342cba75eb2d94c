"""Training and evaluating again and again in one process: does anything grow?

    make soak                 # an hour
    python benchmarks/soak.py --minutes 5

A cycle trains the flower sample for an epoch with two loader processes and checkpoints, restores the weights and judges
them. After each, resident memory, open files, threads, child processes and shared memory are noted. "Flat" compares
the median of the last quarter of the hour with that of the second quarter: the first one fills caches.
"""

import argparse
import gc
import json
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from training_loop import make_store

from eightgig.core.device import describe_device
from eightgig.core.tracker import NoTracker
from eightgig.core.units import MIB
from eightgig.datasets.weights import Weights, WeightsDataset
from eightgig.models.network import ImageNetwork
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.plan import plan_memory
from eightgig.stages.trained import card_of, restore
from eightgig.stages.training_job import TrainingJob
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.training.parameters import ClassifierTrainParameters
from eightgig.vram.parameters import PlanParameters

# Growth that counts as none: of resident memory a share, of all else nothing.
_FLAT_MEMORY = 0.02


class Soak:
    """One case study on one store, trained and judged as often as is asked."""

    def __init__(self, folder: Path) -> None:
        self.case, self.folder = ImageClassifier(), folder
        self.store = make_store(folder, 160)
        self.model = ImageModelParameters(name="tf_efficientnet_lite0", weights="none", image_size=96)
        # A checkpoint after each step as far as its cost allows, which is many more than in earnest.
        self.train = ClassifierTrainParameters(
            epochs=1, batch_size=16, gradient_accumulation_steps=1, num_workers=2, resume="never", checkpoint_minutes=0
        )
        self.plan = plan_memory(self.case, self.store, self.model, self.train, PlanParameters(precision="fp32"))
        self.indices = list(range(len(self.store)))

    def cycle(self) -> float:
        """Train, save, load, judge; give the score."""
        kept = self.folder / "checkpoints"
        job = TrainingJob(
            task=self.case,
            store=self.store,
            train_indices=self.indices[::2],
            val_indices=self.indices[1::2],
            size=self.model.size,
            plan=self.plan,
            model=self.model,
            train=self.train,
            checkpoints=kept,
            flight_recorder=self.folder / "recorder",
            tracker=NoTracker(),
        )
        network, objective = job.network()
        result = job.result(network, objective)
        card = card_of(
            self.case,
            network,
            self.store,
            size=self.model.size,
            result=result,
            score_name="accuracy",
            device_name="cpu",
        )
        dataset = WeightsDataset(filepath=str(self.folder / "weights.safetensors"))
        dataset.save(Weights(result.best_state, card))
        judged = restore(self.case, dataset.load())
        assert isinstance(judged, ImageNetwork)  # noqa: S101  as it was trained
        batches = self.case.eval_batches(self.store, job.val_indices, size=self.model.size, batch_size=16)
        score = self.case.objective(judged, self.train).evaluate(judged.module, batches, torch.device("cpu"))["score"]
        shutil.rmtree(kept)
        return score


def look(process: psutil.Process) -> dict[str, Any]:
    """Return what the process holds now."""
    gc.collect()
    return {
        "resident_mib": round(process.memory_info().rss / MIB, 1),
        "open_files": process.num_fds(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
        "shared_memory_mib": round(shutil.disk_usage("/dev/shm").used / MIB, 1),  # noqa: S108 - the device itself
    }


def judged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the last quarter with the second."""
    quarter = max(1, len(rows) // 4)
    second, last = rows[quarter : 2 * quarter] or rows, rows[-quarter:]
    found = {}
    for name in ("resident_mib", "open_files", "threads", "children", "shared_memory_mib"):
        before, after = (statistics.median(row[name] for row in part) for part in (second, last))
        limit = before * (1 + _FLAT_MEMORY) if name == "resident_mib" else before
        found[name] = {"second_quarter": before, "last_quarter": after, "flat": after <= limit}
    return found


def main() -> None:
    """Run for so long, print and keep the result."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = options.parse_args()
    process, rows, begun = psutil.Process(), [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder))
        while time.monotonic() - begun < 60 * arguments.minutes:
            score = soak.cycle()
            rows.append({"minutes": round((time.monotonic() - begun) / 60, 2), "score": score, **look(process)})
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "machine": describe_device("cpu"),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "cycles": len(rows),
        "scores": sorted({row["score"] for row in rows}),
        "judged": judged(rows),
        "rows": rows[:: max(1, len(rows) // 60)],
    }
    print(json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=2))
    name = "soak-" + "-".join(describe_device("cpu").split(",")[0].lower().split()) + ".json"
    (arguments.results / name).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
