import numpy as np
import pytest

from eightgig.bench.classification import evaluate
from eightgig.core.errors import DataError

CLASSES = ["daisy", "rose", "tulip"]
PROBABILITIES_NK = np.array(
    [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.9, 0.0], [0.1, 0.6, 0.3]], dtype=np.float64
)
LABELS_N = np.array([0, 0, 1, 1, 0])


def test_the_figures_are_those_of_hand_arithmetic() -> None:
    report, _, _ = evaluate(PROBABILITIES_NK, LABELS_N, CLASSES)
    assert report.num_images == 5
    assert report.accuracy == pytest.approx(3 / 5)
    # daisy: 3 predicted, 2 right of 3; rose: 2 predicted, 1 right of 2; tulip appears nowhere and does not count.
    assert report.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert report.loss == pytest.approx(-np.log([0.8, 0.7, 0.3, 0.9, 0.1]).mean(), abs=1e-6)
    assert (report.top_k, report.top5_accuracy) == (3, 1.0)
    assert report.absent_classes == ("tulip",)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.tile([0.9, 0.1], (10, 1))
    report, _, _ = evaluate(sure, np.array([0] * 6 + [1] * 4), ["a", "b"])
    assert report.expected_calibration_error == pytest.approx(0.3, abs=1e-6)


def test_top5_counts_where_there_are_more_than_five_classes() -> None:
    probabilities_NK = np.tile(np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05]), (2, 1))
    report, _, _ = evaluate(probabilities_NK, np.array([4, 5]), list("abcdef"))
    assert (report.top_k, report.top5_accuracy, report.accuracy) == (5, 0.5, 0.0)


def test_the_tables_hold_every_class_and_mark_the_absent_one() -> None:
    report, per_class, confusion = evaluate(PROBABILITIES_NK, LABELS_N, CLASSES)
    assert list(per_class.columns) == ["class", "images", "precision", "recall", "f1"]
    assert per_class["images"].tolist() == [3, 2, 0]
    assert per_class["recall"].tolist()[:2] == pytest.approx([2 / 3, 1 / 2])
    assert per_class["f1"].isna().tolist() == [False, False, True]
    assert report.per_class[2].recall is None
    assert list(confusion.loc["daisy"]) == [2, 1, 0]
    assert list(confusion.loc["rose"]) == [1, 1, 0]
    assert (confusion.index.name, confusion.columns.name) == ("actual", "predicted")


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(5, 2\) by labels and classes; found \(5, 3\)"):
        evaluate(PROBABILITIES_NK, LABELS_N, CLASSES[:2])
    with pytest.raises(DataError, match="labels 0 to 2, found 0 to 7: the model and the data have different classes"):
        evaluate(PROBABILITIES_NK, np.array([0, 0, 1, 1, 7]), CLASSES)
    with pytest.raises(DataError, match="at least 1 image"):
        evaluate(PROBABILITIES_NK[:0], LABELS_N[:0], CLASSES)
