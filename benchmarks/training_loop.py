"""One training epoch through the project's loop against a bare PyTorch loop: same model, loader, steps and weights.

The two run in turn, round by round, and the figure is the median of the rounds' ratios, so that a machine that slows
down slows both. Run it with `make bench-train`; it draws its own images and needs no data.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from eightgig.core.device import DeviceKind, describe_device, resolve_device
from eightgig.core.tracker import NoTracker
from eightgig.data.images.loader import Batch
from eightgig.data.images.parameters import AugmentParameters, DataParameters
from eightgig.data.images.transforms import DeviceColour
from eightgig.data.store.reader import ImageStore
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.ingest import build_store, inspect, split
from eightgig.stages.plan import plan_memory
from eightgig.tasks.classification.ingest import ClassifiedImages
from eightgig.tasks.classification.model import build_classifier
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.training.epoch_iterator import EpochIterator
from eightgig.training.parameters import ClassifierTrainParameters
from eightgig.training.trainer import Trainer
from eightgig.vram.parameters import PlanParameters

BAR = 1.05
NETWORK = "tf_efficientnet_lite0"


def make_store(folder: Path, num_images: int) -> ImageStore:
    """Draw images and store them."""
    data = DataParameters(num_images=num_images)
    images = ClassifiedImages()
    raw = images.source(data).materialise(folder)
    manifest, rejects = inspect(images, raw, data, folder / "journal")
    build_store(images, raw, manifest, split(images, raw, manifest, rejects, data), data).write(folder / "store.h5")
    return ImageStore(folder / "store.h5")


def bare_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    colour: DeviceColour,
    batches: Iterable[Batch],
    device: DeviceKind,
) -> None:
    """Train one epoch as one would write it by hand, in float32."""
    module.train()
    colour.train()
    for batch in batches:
        images = colour(batch["images"].to(device, non_blocking=True))
        loss = functional.cross_entropy(module(images), batch["labels"].to(device, non_blocking=True))
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


class LoopBench:
    """The project's loop and a bare one, with the same network, loader and weights; all is made ready on the CPU.

    Args:
        sizes: num_images, image_size, batch_size and rounds.
        device: where both train.
    """

    def __init__(self, sizes: argparse.Namespace, device: DeviceKind) -> None:
        self._sizes, self._device = sizes, device
        self._folder = tempfile.TemporaryDirectory()
        self._case = ImageClassifier()
        self._model = ImageModelParameters(name=NETWORK, weights="none", image_size=sizes.image_size)
        self._train = ClassifierTrainParameters(
            batch_size=sizes.batch_size, gradient_accumulation_steps=1, augment=AugmentParameters(), num_workers=0
        )
        self._store = make_store(Path(self._folder.name), sizes.num_images)
        plan = PlanParameters(precision="fp32", device="cpu")
        planned = plan_memory(self._case, self._store, self._model, self._train, plan)
        self._plan = planned.model_copy(update={"device": device})  # made without touching a card

    def measure(self) -> dict[str, Any]:
        """Return the ratios of all rounds and their medians."""
        rounds = list(self._rounds())
        ratio = statistics.median(r["ours_wall_s"] / r["bare_wall_s"] for r in rounds)
        cpu_ratio = statistics.median(r["ours_cpu_s"] / r["bare_cpu_s"] for r in rounds)
        return {
            "device": describe_device(self._device),
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "options": vars(self._sizes),
            "wall_ratio_median": round(ratio, 4),
            "cpu_ratio_median": round(cpu_ratio, 4),
            "bar": BAR,
            "met": ratio <= BAR,
            "rounds": rounds,
        }

    def _rounds(self) -> Iterator[dict[str, float]]:
        train, device = self._train, self._device
        batches = self._case.train_batches(
            self._store,
            range(len(self._store)),
            size=self._model.image_size,
            batch_size=train.batch_size,
            train=train,
        )
        network = self._case.build_network(self._model, len(self._store.classes))
        objective = self._case.objective(network, train)
        twin = build_classifier(NETWORK, weights="none", num_classes=len(self._store.classes)).module
        twin.load_state_dict(network.module.state_dict())
        trainer = Trainer(network.module, objective, plan=self._plan, parameters=train, steps=1000, tracker=NoTracker())
        feed = EpochIterator(
            batches,
            gradient_accumulation_steps=self._plan.gradient_accumulation_steps,
            process_group=trainer.state.process_group,
        )
        twin = twin.to(device).to(memory_format=torch.channels_last)
        colour = DeviceColour(mean=network.mean, std=network.std, augment=train.augment).to(device)
        on_card = device == "cuda"
        optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-4, fused=on_card, foreach=not on_card)
        for number in range(self._sizes.rounds + 1):
            trainer.progress.samples = 0
            ours = seconds(lambda: trainer.train_epoch(feed))
            bare = seconds(lambda: bare_epoch(twin, optimizer, colour, batches, device))
            if number:  # the first round warms up
                yield {"ours_wall_s": ours[0], "bare_wall_s": bare[0], "ours_cpu_s": ours[1], "bare_cpu_s": bare[1]}


def main() -> None:
    """Measure, print and keep the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--num-images", type=int, default=96)
    options.add_argument("--image-size", type=int, default=96)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = options.parse_args()
    device, folder = resolve_device("auto"), arguments.results
    del arguments.results
    result = LoopBench(arguments, device).measure()
    print(json.dumps({k: v for k, v in result.items() if k != "rounds"}, indent=2))
    name = "training_loop-" + "-".join(describe_device(device).split(",")[0].lower().split()) + ".json"
    (folder / name).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
