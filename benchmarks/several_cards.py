"""What networks take on two cards of 8 GB over PCI Express 3 x8, by strategy, predicted for RTX 3070s.

    make bench-several-cards

Each row is the plan stage's own answer, and its time the roofline's. In the two that spread layers what crosses the bus
is in the time; the exchange of gradients (`ddp`) and weights (`fsdp`) is not.
"""

import argparse
import json
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eightgig.core.device import describe_device
from eightgig.core.errors import EightgigError
from eightgig.core.units import GIB, MIB
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.plan import plan_request
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.tasks.segmentation.parameters import SegmenterTrainParameters
from eightgig.tasks.segmentation.task import SemanticSegmenter
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.training.parameters import ClassifierTrainParameters, TrainParameters
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.target import Target
from eightgig.vram.tracing.predictor import Predictor

CARD, SLOTS = "RTX 3070", "3 x8"
# Task, its parameters, outputs, samples a step, and the recipe's record.
NETWORKS: dict[str, tuple[Any, Any, int, int, Any]] = {
    "ResNet-50, 224 px": (
        ImageClassifier(),
        ImageModelParameters(name="torchvision/resnet50", weights="none", image_size=224),
        1000,
        128,
        ClassifierTrainParameters,
    ),
    "U-Net, 512 px": (
        SemanticSegmenter(),
        ImageModelParameters(name="unet", weights="none", image_size=512),
        21,
        16,
        SegmenterTrainParameters,
    ),
    "GPT-2 medium, 1,024 tokens": (
        TextGenerator(),
        GeneratorModelParameters(name="gpt2-medium", weights="none", max_tokens=1024, config={}),
        50257,
        16,
        TrainParameters,
    ),
    "GPT-2 large, 1,024 tokens": (
        TextGenerator(),
        GeneratorModelParameters(name="gpt2-large", weights="none", max_tokens=1024, config={}),
        50257,
        16,
        TrainParameters,
    ),
}
STRATEGIES = ("one card", "ddp", "fsdp", "pipeline", "model")


def planned(name: str, strategy: str, predictor: Predictor) -> MemoryPlan:
    """Return the plan of a network by a strategy."""
    task, model, num_outputs, batch_size, recipe = NETWORKS[name]
    distributed: dict[str, Any] = {"pcie": SLOTS}
    if strategy != "one card":
        distributed |= {"nproc_per_node": 2, "strategy": strategy}
    train = recipe(batch_size=batch_size, gradient_accumulation_steps=1, ema_decay=None, distributed=distributed)
    target = Target(device="cuda", device_name=CARD, card=card_named(CARD), memory=None)
    request = plan_request(task, model, num_outputs, train, precisions=("bf16",), target=target)
    return make_plan(request, PlanParameters(card=CARD, offload="never"), predictor=predictor)


def rows(names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each network and strategy."""
    for name in names:
        with Predictor() as predictor:
            for strategy in STRATEGIES:
                row: dict[str, Any] = {"network": name, "strategy": strategy}
                try:
                    plan = planned(name, strategy, predictor)
                except EightgigError as error:
                    yield {**row, "fits": False, "why": str(error).partition(". ")[0]}
                    continue
                yield {
                    **row,
                    "fits": plan.fits,
                    "plan": plan.sentence(),
                    "needed_gib": round(plan.needed_bytes / GIB, 2),
                    "seconds_per_step_without_exchange": plan.seconds_per_step,
                    "stages": [
                        {
                            "first": stage.parts[0],
                            "last": stage.parts[-1],
                            "needed_gib": round(stage.needed_bytes / GIB, 2),
                            "handed_mib": round(stage.handed_bytes / MIB, 1),
                        }
                        for stage in plan.stages
                    ],
                }


def main() -> None:
    """Write the rows as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/several_cards-predicted.json"))
    options = parser.parse_args()
    found: dict[str, Any] = {
        "predicted_for": f"2 x {CARD}, 8 GiB each, PCI Express {SLOTS}",
        "predicted_on": describe_device("cpu"),
        "torch": version("torch"),
        "rows": [],
    }
    for row in rows(options.networks):
        found["rows"].append(row)
        print(json.dumps(row))
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
