"""How right a classifier is: one record, a table a class, and the confusion matrix."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss
from torchmetrics.functional import classification as metrics

from eightgig.bench.records import ClassificationReport, ClassRow
from eightgig.core.errors import DataError
from eightgig.export.evaluator import Comparison, EvaluatorOfAll
from eightgig.export.runners import Arrays, softmax

_CALIBRATION_BINS = 15
# A probability of exactly 0 for the true class would make the loss infinite.
_SMALLEST_PROBABILITY = 1e-12


class ClassificationEvaluator(EvaluatorOfAll):
    """One class of several an image; an `eightgig.export.evaluator.Evaluator`.

    Its answers are probabilities_K, its truths positions in `classes`; all together, for F1 is of classes.
    """

    output = "logits"
    score_name = "accuracy"

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes

    def predictions(self, outputs: Arrays) -> list[NDArray[np.float64]]:
        """Return the probabilities of each image of logits_NK."""
        return list(softmax(outputs[self.output]))

    def quality(self, predictions: Sequence[NDArray[np.float64]], targets: Sequence[int]) -> dict[str, float]:
        """Return accuracy, top-5 accuracy and macro F1."""
        report, _, _ = evaluate(np.stack(predictions), np.asarray(targets), self._classes)
        return {"accuracy": report.accuracy, "top5_accuracy": report.top5_accuracy, "macro_f1": report.macro_f1}

    def compare(self, reference: Sequence[NDArray[np.float64]], found: Sequence[NDArray[np.float64]]) -> Comparison:
        """Return the largest difference of any probability, and the share of images with the same first class."""
        wanted, other = np.stack(reference), np.stack(found)
        return Comparison(
            difference=float(np.abs(wanted - other).max()),
            agreement=float((wanted.argmax(1) == other.argmax(1)).mean()),
        )


def evaluate(
    probabilities_NK: NDArray[np.floating], labels_N: NDArray[np.integer], classes: Sequence[str]
) -> tuple[ClassificationReport, pd.DataFrame, pd.DataFrame]:
    """Return the report, its table [class, images, precision, recall, f1], and the confusion counts.

    The confusion matrix has the true class in its rows (index `actual`) and the predicted one in its columns.

    Args:
        probabilities_NK: rows that sum to 1.
        labels_N: indices into `classes`.
        classes: K names, at least 2.

    Raises:
        DataError: no image, shapes that do not fit together, or a label outside of the classes.
    """
    _refuse_misfits(probabilities_NK, labels_N, classes)
    probabilities = torch.from_numpy(np.ascontiguousarray(probabilities_NK, dtype=np.float32))
    labels = torch.from_numpy(np.ascontiguousarray(labels_N, dtype=np.int64))
    rows = _per_class(probabilities, labels, classes)
    confusion = metrics.multiclass_confusion_matrix(probabilities, labels, num_classes=len(classes)).numpy()
    names = pd.Index(classes, name="actual"), pd.Index(classes, name="predicted")
    return (
        _report(probabilities, labels, rows),
        pd.DataFrame([row.model_dump() for row in rows]).rename(columns={"name": "class"}),
        pd.DataFrame(confusion, index=names[0], columns=names[1]),
    )


def _report(probabilities: Tensor, labels: Tensor, rows: tuple[ClassRow, ...]) -> ClassificationReport:
    num_classes = len(rows)
    top_k = min(5, num_classes)
    accuracy = partial(metrics.multiclass_accuracy, probabilities, labels, num_classes=num_classes, average="micro")
    return ClassificationReport(
        num_images=len(labels),
        accuracy=float(accuracy()),
        top5_accuracy=float(accuracy(top_k=top_k)),
        top_k=top_k,
        macro_f1=float(metrics.multiclass_f1_score(probabilities, labels, num_classes=num_classes, average="macro")),
        loss=float(nll_loss(probabilities.clamp_min(_SMALLEST_PROBABILITY).log(), labels)),
        expected_calibration_error=float(
            metrics.multiclass_calibration_error(
                probabilities, labels, num_classes=num_classes, n_bins=_CALIBRATION_BINS, norm="l1"
            )
        ),
        per_class=rows,
        absent_classes=tuple(row.name for row in rows if row.images == 0),
    )


def _per_class(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> tuple[ClassRow, ...]:
    measures = (metrics.multiclass_precision, metrics.multiclass_recall, metrics.multiclass_f1_score)
    columns = [m(probabilities, labels, num_classes=len(classes), average="none").tolist() for m in measures]
    images = torch.bincount(labels, minlength=len(classes)).tolist()
    return tuple(
        ClassRow(name=name, images=count, **_figures(count, values))
        for name, count, values in zip(classes, images, zip(*columns, strict=True), strict=True)
    )


def _figures(images: int, values: Sequence[float]) -> dict[str, float | None]:
    names = ("precision", "recall", "f1")
    return {name: value if images else None for name, value in zip(names, values, strict=True)}


def _refuse_misfits(
    probabilities_NK: NDArray[np.floating], labels_N: NDArray[np.integer], classes: Sequence[str]
) -> None:
    wanted = (len(labels_N), len(classes))
    if not len(labels_N) or len(classes) < 2 or probabilities_NK.shape != wanted:
        raise DataError(
            f"evaluation wants probabilities of at least 1 image and 2 classes, shape {wanted} by labels and classes; "
            f"found {probabilities_NK.shape}"
        )
    if labels_N.min() < 0 or labels_N.max() >= len(classes):
        raise DataError(
            f"evaluation wants labels 0 to {len(classes) - 1}, found {labels_N.min()} to {labels_N.max()}: "
            "the model and the data have different classes"
        )
