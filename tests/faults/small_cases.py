"""Training runs of four case studies, and of an agent, that take seconds: the stores are drawn here."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tests.plans import make_plan

from eightgig.core.tracker import NoTracker, Tracker
from eightgig.data.images.decoding import inspect_image
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.models.parameters import ImageModelParameters, TextModelParameters
from eightgig.stages.training_job import TrainingJob
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.tasks.detection.parameters import DetectorTrainParameters
from eightgig.tasks.detection.task import ObjectDetector
from eightgig.tasks.segmentation.parameters import SegmenterTrainParameters
from eightgig.tasks.segmentation.task import SemanticSegmenter
from eightgig.tasks.text.classification.parameters import SentimentTrainParameters
from eightgig.tasks.text.classification.task import SentimentClassifier
from eightgig.training.parameters import ClassifierTrainParameters

KINDS = ("classifier", "detector", "segmenter", "text")
NUM_SAMPLES, NUM_VALIDATED, SIDE = 22, 6, 64
CLASSES = ("first", "second")
# Windows of 8: three optimizer steps an epoch, the last of them with 6 samples.
RECIPE = {"epochs": 3, "batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3, "seed": 3}


def make_stores(folder: Path) -> None:
    """Write a store for each kind of case study into `folder`."""
    images = folder / "images"
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows, boxes, masks = [], [], {}
    for number in range(NUM_SAMPLES + NUM_VALIDATED):
        coarse = random.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{number}.jpg"), cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        found = inspect_image(images / f"{number}.jpg", max_pixels=10**6, min_side=1)
        rows.append({"path": f"{number}.jpg", "mask_path": f"{number}.png", "label": number % 2, **found.model_dump()})
        left, top = random.integers(0, SIDE // 2, 2)
        boxes.append({"index": number, "label": number % 2, "x1": left, "y1": top, "x2": left + 20, "y2": top + 30})
        masks[f"{number}.png"] = random.integers(0, 2, (SIDE, SIDE)).astype(np.uint8)
        (images / f"{number}.png").touch()
    manifest = pd.DataFrame(rows)
    write_store(folder / "classifier.h5", manifest, images, CLASSES)
    write_store(folder / "detector.h5", manifest, images, CLASSES, boxes=pd.DataFrame(boxes))
    write_store(folder / "segmenter.h5", manifest, images, CLASSES, masks=masks.__getitem__)
    _make_texts(folder / "text.h5", random)


def make_job(
    kind: str,
    stores: Path,
    folder: Path,
    *,
    tracker: Tracker | None = None,
    plan: dict[str, Any] | None = None,
    **train: Any,
) -> TrainingJob:
    """Return a run of one kind, kept in `folder`; `train` and `plan` change the recipe and the plan."""
    case, model, recipe = _CASES[kind]
    options = {"num_workers": 0, **RECIPE, **train}
    if kind != "text":
        options = {"ema_decay": 0.9, "ema_ramp_steps": 2, **options}
    store: Any = (TokenStore if kind == "text" else ImageStore)(stores / f"{kind}.h5")
    return TrainingJob(
        task=case(),
        store=store,
        train_indices=list(range(NUM_SAMPLES)),
        val_indices=list(range(NUM_SAMPLES, NUM_SAMPLES + NUM_VALIDATED)),
        size=model.size,
        plan=make_plan(**(plan or {})),
        model=model,
        train=recipe(**options),
        checkpoints=folder / "checkpoints",
        flight_recorder=None,
        tracker=tracker or NoTracker(),
    )


def _make_texts(path: Path, random: np.random.Generator) -> None:
    count = NUM_SAMPLES + NUM_VALIDATED
    TokenContent(
        tokens=[random.integers(1, 200, int(random.integers(3, 12))) for _ in range(count)],
        labels=[number % 2 for number in range(count)],
        texts=None,
        num_bytes=[10] * count,
        paths=[f"{number}.txt" for number in range(count)],
        classes=CLASSES,
        tokenizer_json=train_bpe(["a small text"], vocab_size=260),
        vocab_size=260,
        max_tokens=16,
    ).write(path)


_SMALL_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 260,
    "max_position_embeddings": 32,
}
_CASES: dict[str, tuple[Any, Any, Any]] = {
    "classifier": (
        ImageClassifier,
        ImageModelParameters(name="torchvision/mobilenet_v3_small", weights="none", image_size=SIDE),
        ClassifierTrainParameters,
    ),
    "detector": (
        ObjectDetector,
        ImageModelParameters(name="yolov5n", weights="none", image_size=SIDE),
        DetectorTrainParameters,
    ),
    "segmenter": (
        SemanticSegmenter,
        ImageModelParameters(name="unet_x0_125", weights="none", image_size=SIDE),
        SegmenterTrainParameters,
    ),
    "text": (
        SentimentClassifier,
        TextModelParameters(name="bert-base", weights="none", max_tokens=16, config=_SMALL_BERT),
        SentimentTrainParameters,
    ),
}
