"""What each lever of the memory plan saves for GPT-2 medium at 1,024 tokens on 8 GiB, predicted for an RTX 3070.

    make bench-levers

Each row is the plan stage's own answer to one recipe of the text generator. Tokens a second are the roofline's.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eightgig.core.device import describe_device
from eightgig.core.errors import BudgetError
from eightgig.core.units import GIB
from eightgig.stages.plan import plan_request
from eightgig.tasks.text.generation.parameters import GeneratorModelParameters
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.tasks.text.parameters import LoraParameters
from eightgig.training.parameters import TrainParameters
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.target import Target
from eightgig.vram.tracing.predictor import Predictor

CARD, TOKENS, GPT2_TOKENS = "RTX 3070", 1024, 50257
ALONE = {
    "batch_size": 2,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": None,
}  # what the optimizer in the backward pass asks for
RECIPES: dict[str, dict[str, Any]] = {
    "AdamW (conf/rtx3070)": {},
    "8-bit AdamW": {"train": {"optimizer": "adamw8bit"}},
    "optimizer in the backward pass": {"train": ALONE, "plan": {"optimizer_in_backward": "always"}},
    "8-bit AdamW in the backward pass": {
        "train": {**ALONE, "optimizer": "adamw8bit"},
        "plan": {"optimizer_in_backward": "always"},
    },
    "LoRA of rank 8": {"lora": LoraParameters(rank=8, alpha=16)},
    "AdamW, attention keeps the whole matrix": {"plan": {"attention": "eager"}},
}


def planned(recipe: dict[str, Any], predictor: Predictor) -> MemoryPlan:
    """Return a recipe's plan.

    Raises:
        BudgetError: where none fits.
    """
    asks_bf16 = "plan" in recipe and "optimizer_in_backward" in recipe["plan"]
    train = TrainParameters(
        **{"batch_size": 4, "gradient_accumulation_steps": 4, "eval_batch_size": 4, **recipe.get("train", {})}
    )
    model = GeneratorModelParameters(
        name="gpt2-medium", weights="none", max_tokens=TOKENS, lora=recipe.get("lora"), config={}
    )
    request = plan_request(
        TextGenerator(),
        model,
        GPT2_TOKENS,
        train,
        precisions=("bf16",) if asks_bf16 else ("fp16",),
        target=Target(device="cuda", device_name=CARD, card=card_named(CARD), memory=None),
    )
    return make_plan(request, PlanParameters(card=CARD, **recipe.get("plan", {})), predictor=predictor)


def predicted(recipe: dict[str, Any], predictor: Predictor) -> dict[str, Any]:
    """Return a recipe's plan as a row."""
    try:
        plan = planned(recipe, predictor)
    except BudgetError as error:
        return {"fits": False, "why": str(error)}
    held = plan.phase("train").parts
    return {
        "fits": plan.fits,
        "plan": plan.sentence(),
        "gib": {name: round(size / GIB, 2) for name, size in held.items()},
        "peak_gib": round(plan.phase("train").peak_bytes / GIB, 2),
        "needed_gib": round(plan.needed_bytes / GIB, 2),
        "usable_gib": round(plan.budget_bytes / GIB, 2),
        "tokens_per_second": round(plan.effective_batch * TOKENS / (plan.seconds_per_step or float("inf"))),
    }


def main() -> None:
    """Predict all recipes and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/levers-predicted.json"))
    arguments = parser.parse_args()
    rows = {}
    with Predictor() as predictor:
        for name, recipe in RECIPES.items():
            rows[name] = predicted(recipe, predictor)
            print(name, json.dumps(rows[name]), flush=True)
    what = {"predicted_for": CARD, "predicted_on": describe_device("cpu"), "torch": version("torch"), "rows": rows}
    arguments.out.write_text(json.dumps(what, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
