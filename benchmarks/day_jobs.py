"""The case studies' recipes as training runs of the project's own stages, on samples that are drawn here."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from gpu_cases import CONFIGURATION, RECIPES

BASE = CONFIGURATION.parent
# Without a network: the same networks by the names of their published configurations.
_WITHOUT_HUB = {"bert-base-uncased": "bert-base", "openai-community/gpt2-medium": "gpt2-medium"}
_TRAINED_TOKENS = 50257  # GPT-2's vocabulary
_TINY_TEXT = {"vocab_size": 260}
_TINY_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    **_TINY_TEXT,
}
_TINY_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, **_TINY_TEXT}
# What differs from the recipe in the rows of `levers`: the optimizer in the backward pass wants one batch a step, no
# clipping and no scaler.
_ALONE = {"batch_size": 2, "gradient_accumulation_steps": 1, "max_grad_norm": None}
_IN_BACKWARD = {"optimizer_in_backward": "always", "precision": "bf16"}
LEVERS: dict[str, dict[str, dict[str, Any]]] = {
    "8-bit AdamW": {"train": {"optimizer": "adamw8bit"}},
    "LoRA of rank 8": {"model": {"lora": {"rank": 8, "alpha": 16}}},
    "optimizer in the backward pass": {"train": _ALONE, "plan": _IN_BACKWARD},
    "8-bit AdamW in the backward pass": {"train": {**_ALONE, "optimizer": "adamw8bit"}, "plan": _IN_BACKWARD},
}


class Study(NamedTuple):
    """What is drawn for a case study.

    Attributes:
        factory: `module:class` of the case.
        kind: of its store.
        num_classes: of the data set that the recipe is for.
        image: width and height of a drawn image, pixels.
        tiny: the network that stands in for the recipe's where a CPU rehearses it.
    """

    factory: str
    kind: str
    num_classes: int
    image: tuple[int, int] = (0, 0)
    tiny: str = ""


_CLASSIFIER = "eightgig.tasks.classification.task:ImageClassifier"
STUDIES = {
    # ImageNet's and Oxford's images are about 500 px, COCO's 640, Cityscapes' 2,048 (stored at half of that here).
    "flower_classifier": Study(_CLASSIFIER, "classes", 102, (500, 375), "torchvision/mobilenet_v3_small"),
    "image_classifier": Study(_CLASSIFIER, "classes", 1000, (500, 375), "torchvision/mobilenet_v3_small"),
    "object_detector": Study("eightgig.tasks.detection.task:ObjectDetector", "boxes", 80, (640, 480), "yolov5n"),
    "semantic_segmenter": Study(
        "eightgig.tasks.segmentation.task:SemanticSegmenter", "masks", 19, (1024, 512), "unet_x0_125"
    ),
    "sentiment_classifier": Study(
        "eightgig.tasks.text.classification.task:SentimentClassifier", "texts", 2, tiny="bert-base"
    ),
    "text_generator": Study("eightgig.tasks.text.generation.task:TextGenerator", "texts", 1, tiny="gpt2"),
}
_TINY_SIDE, _TINY_TOKENS = 64, 16


class Recipe(NamedTuple):
    """A case study with its parameters, as Kedro would give them to the stages."""

    case: Any
    model: Any
    train: Any
    plan: Any


def merged(base: Any, change: Any) -> Any:
    """Return one group of parameters laid over another, name by name; an empty group empties."""
    if not isinstance(base, dict) or not isinstance(change, dict) or not change:
        return change
    return {**base, **{name: merged(base.get(name), value) for name, value in change.items()}}


def parameters_of(name: str) -> dict[str, Any]:
    """Return a case study's parameters for the card of the budget: conf/base with conf/rtx3070 over it."""
    files = [folder / f"parameters_{name}.yml" for folder in (BASE, RECIPES)]
    base, change = (yaml.safe_load(file.read_text(encoding="utf-8"))[name] for file in files)
    made: dict[str, Any] = merged(base, change)
    return made


def recipe_of(case: str, *, device: str, tiny: bool = False, lever: str | None = None, **train: Any) -> Recipe:
    """Return a recipe that needs no network: weights random, `train` changed, and small where it is `tiny`."""
    from eightgig.core.addresses import at_address
    from eightgig.vram.parameters import PlanParameters

    study, given = STUDIES[case], parameters_of(case)
    made = at_address(study.factory)()
    changes = LEVERS[lever] if lever else {}
    given = {group: merged(given[group], changes.get(group, given[group])) for group in ("model", "train", "plan")}
    # Kept as a file of weights would be: with its own configuration, and what the samples' lengths are.
    model = {**given["model"], "weights": "none"}
    model["name"] = _WITHOUT_HUB.get(model["name"], model["name"])
    plan = {**given["plan"], "device": device}
    if plan.get("precision", "auto") == "auto" or device == "cpu":  # `auto` would ask the card, before its turn
        plan["precision"] = "fp16" if device == "cuda" else "fp32"
    if tiny:
        model |= _tiny_model(study)
        size = {"batch_size": 4, "gradient_accumulation_steps": 2, "eval_batch_size": 4}
        train = {**(size if lever is None else {}), "num_workers": 0, **train}
    records = made.records
    return Recipe(
        made,
        records["model"](**model),
        records["train"](**{**given["train"], **train}),
        PlanParameters(**plan),
    )


def _tiny_model(study: Study) -> dict[str, Any]:
    if study.kind != "texts":
        return {"name": study.tiny, "image_size": _TINY_SIDE}
    config = _TINY_BERT if study.tiny == "bert-base" else _TINY_GPT2
    return {"name": study.tiny, "max_tokens": _TINY_TOKENS, "config": config}


class Outputs(NamedTuple):
    """What a plan asks of a store: how many things the network tells apart."""

    classes: tuple[str, ...]
    vocab_size: int


def outputs_of(case: str, *, tiny: bool) -> Outputs:
    """Return the classes and the vocabulary that belong to a recipe."""
    study = STUDIES[case]
    count = min(study.num_classes, 4) if tiny else study.num_classes
    return Outputs(tuple(f"class {number}" for number in range(count)), 260 if tiny else _TRAINED_TOKENS)


def plan_recipe(arguments: dict[str, Any], *, card: str, budget_gib: float) -> dict[str, Any]:
    """Return the plan stage's own plan for a recipe, as JSON; the card is not touched: its turn comes later."""
    from eightgig.stages.plan import plan_memory
    from eightgig.vram.cards.catalog import card_named
    from eightgig.vram.cards.found import card_found
    from eightgig.vram.planning import target

    recipe = recipe_of(**{name: arguments[name] for name in ("case", "device", "tiny", "lever") if name in arguments})
    planned = recipe.plan.model_copy(update={"budget_gib": budget_gib})
    known = card_found() or card_named(target.DEFAULT_CARD)
    here = target.Target(device=arguments["device"], device_name=card, card=known, memory=None)
    asked, target.target_of = target.target_of, lambda *_, **__: here  # which would look at a card that is at work
    try:
        outputs: Any = outputs_of(arguments["case"], tiny=arguments["tiny"])
        made = plan_memory(recipe.case, outputs, recipe.model, recipe.train, planned)
    finally:
        target.target_of = asked
    plan: dict[str, Any] = made.model_dump(mode="json")
    return plan


def make_store(case: str, path: Path, *, tiny: bool, tokens: int, num_samples: int) -> Any:
    """Draw samples into a store, unless it is there; give it open."""
    from eightgig.data.store.reader import ImageStore
    from eightgig.data.store.tokens import TokenStore

    study = STUDIES[case]
    if not path.exists():  # each process for itself: two may make ready at a time
        own = path.parent / str(os.getpid()) / path.name
        own.parent.mkdir(parents=True, exist_ok=True)
        draw = _draw_texts if study.kind == "texts" else _draw_images
        draw(case, own, tiny, tokens, num_samples)
        own.replace(path)
    return TokenStore(path) if study.kind == "texts" else ImageStore(path)


def _draw_texts(case: str, path: Path, tiny: bool, tokens: int, num_samples: int) -> None:
    from eightgig.data.store.tokenizers import train_bpe
    from eightgig.data.store.tokens import TokenContent

    outputs, random = outputs_of(case, tiny=tiny), np.random.default_rng(0)
    labelled = case != "text_generator"
    # A language model reads blocks of one token more than it is given, since the last is only predicted.
    length = tokens if labelled else tokens + 1
    TokenContent(
        tokens=[random.integers(1, 250, length) for _ in range(num_samples)],
        labels=[number % 2 for number in range(num_samples)] if labelled else None,
        texts=None,
        num_bytes=[length] * num_samples,
        paths=[f"{number}.txt" for number in range(num_samples)],
        classes=outputs.classes if labelled else (),
        tokenizer_json=train_bpe(["a small text"], vocab_size=260),
        vocab_size=outputs.vocab_size,
        max_tokens=length,
    ).write(path)


def _draw_images(case: str, path: Path, tiny: bool, _: int, num_samples: int) -> None:
    import cv2
    import pandas as pd

    from eightgig.data.images.decoding import inspect_image
    from eightgig.data.store.reader import write_store

    study, classes, random = STUDIES[case], outputs_of(case, tiny=tiny).classes, np.random.default_rng(0)
    width, height = (_TINY_SIDE, _TINY_SIDE) if tiny else study.image
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    rows, boxes, masks = [], [], {}
    for number in range(num_samples):
        # Coarse enough to be an image, fine enough that decoding it takes what a photo takes.
        coarse = random.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
        (folder / f"{number}.png").touch()
        found = inspect_image(folder / f"{number}.jpg", max_pixels=width * height, min_side=1)
        label = number % len(classes)
        rows.append({"path": f"{number}.jpg", "mask_path": f"{number}.png", "label": label, **found.model_dump()})
        left, top = int(random.integers(0, width // 2)), int(random.integers(0, height // 2))
        box = {"x1": left, "y1": top, "x2": left + width // 3, "y2": top + height // 3}
        boxes.append({"index": number, "label": label, **box})
        masks[f"{number}.png"] = random.integers(0, len(classes), (height, width)).astype(np.uint8)
    extra: dict[str, Any] = {"boxes": {"boxes": pd.DataFrame(boxes)}, "masks": {"masks": masks.__getitem__}}
    write_store(path, pd.DataFrame(rows), folder, classes, **extra.get(study.kind, {}))
