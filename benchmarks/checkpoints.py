"""What a checkpoint costs: its bytes, seconds to save, the share of the time at the default interval, and to read it.

    make bench-checkpoints

A plain `torch.save` into an open file, without waiting for the disk and without a hash, is saved in turn with it.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from day_training import plan_by_hand
from torch import nn

from eightgig.core.device import describe_device
from eightgig.core.tracker import NoTracker
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.classification.model import build_classifier
from eightgig.tasks.text.model import build_text_network
from eightgig.training.checkpointing.checkpoint import Checkpoints
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer

NETWORKS = {
    "EfficientNet-Lite0": (
        lambda: build_classifier("tf_efficientnet_lite0", weights="none", num_classes=7).module,
        True,
    ),
    "ResNet-50": (lambda: build_classifier("resnet50", weights="none", num_classes=1000).module, True),
    "GPT-2 small": (lambda: _gpt2("gpt2"), False),
}


def _gpt2(name: str) -> nn.Module:
    parameters = TextModelParameters(name=name, weights="none", max_tokens=1024)
    return build_text_network(parameters, "causal_lm", num_outputs=50_257).module


def measure(network: nn.Module, *, average: bool, rounds: int) -> dict[str, Any]:
    """Save a run of AdamW so many times."""
    plan = plan_by_hand("cpu", "fp32", 1, 1, "contiguous", 8.0)
    parameters = TrainParameters(ema_decay=0.999 if average else None)
    trainer = Trainer(network, None, plan=plan, parameters=parameters, steps=1, tracker=NoTracker())  # type: ignore[arg-type]  # it trains nothing
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder) / "kept", Recipe(values={}, circumstances={}))
        for number in range(rounds):
            begun = time.perf_counter()
            state = trainer.state_dict()
            gathered = time.perf_counter()
            path = kept.save(state, step=number)
            saved = time.perf_counter()
            torch.save(state, Path(folder) / "plain.pt")
            plain = time.perf_counter()
            kept.newest()
            read = time.perf_counter()
            rows.append(
                {
                    "collect_s": gathered - begun,
                    "save_s": saved - gathered,
                    "plain_save_s": plain - saved,
                    "read_s": read - plain,
                }
            )
        num_bytes = path.stat().st_size
    median = {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}
    cost = median["collect_s"] + median["save_s"]
    trainer._saver.timer.start(cost_s=cost)
    seconds_between = trainer._saver.timer._due - time.monotonic()
    return {
        "num_bytes": num_bytes,
        **median,
        "minutes_between": round(seconds_between / 60, 1),
        "share_of_the_time": round(cost / seconds_between, 5),
    }


def main() -> None:
    """Measure, print and keep the result."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    arguments = options.parse_args()
    rows = {
        name: measure(make(), average=average, rounds=arguments.rounds) for name, (make, average) in NETWORKS.items()
    }
    result = {
        "machine": describe_device("cpu"),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "wanted": "at most 1 % of the time",
        "networks": rows,
    }
    print(json.dumps(result, indent=2))
    name = "checkpoints-" + "-".join(describe_device("cpu").split(",")[0].lower().split()) + ".json"
    (arguments.results / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
