"""What a segmenter's outputs mean, how they are judged and compared."""

import numpy as np
import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.segmentation.metrics import PixelPrediction, SegmentationEvaluator, confusion_counts, report_of

CLASSES = ("road", "sky", "car")


def answer(logits):
    (found,) = SegmentationEvaluator(CLASSES).predictions({"logits": np.asarray(logits, np.float32)[None]})
    return found


def random_answer(seed, scale=1.0):
    return answer(np.random.default_rng(seed).normal(0, scale, (3, 5, 7)))


def test_an_answer_holds_the_two_likeliest():
    found = answer(np.log(np.array([[[0.7]], [[0.1]], [[0.2]]])))
    assert found.labels_HW.tolist() == [[0]]
    assert found.best_HW[0, 0] == pytest.approx(0.7)
    assert found.second_HW[0, 0] == pytest.approx(0.2)


def test_quality_by_hand():
    config_from_card = np.zeros((1, 4), np.float32)
    found = PixelPrediction(np.array([[0, 0, 1, 1]], np.uint8), config_from_card, config_from_card)
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    quality = SegmentationEvaluator(CLASSES).quality([found], [truth])
    assert list(quality) == ["mIoU", "pixel_accuracy", "mean_accuracy"]
    assert quality["mIoU"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert quality["pixel_accuracy"] == pytest.approx(2 / 3)
    assert quality["mean_accuracy"] == pytest.approx((1 + 1 / 2) / 2)


def test_the_same_answers_agree():
    predictions = [random_answer(seed) for seed in range(3)]
    compared = SegmentationEvaluator(CLASSES).compare(predictions, predictions)
    assert (compared.difference, compared.agreement) == (0, 1)


def test_another_class_counts_as_a_difference():
    sure, other = answer(np.log([[[0.9]], [[0.05]], [[0.05]]])), answer(np.log([[[0.05]], [[0.9]], [[0.05]]]))
    compared = SegmentationEvaluator(CLASSES).compare([sure], [other])
    assert compared.agreement == 0
    assert compared.difference == pytest.approx(0.85)


@pytest.mark.parametrize("seed", range(5))
def test_the_difference_is_never_more_than_the_true_one(seed):
    """What is kept of an image cannot tell the largest difference of all classes, but must not make one up."""
    rng = np.random.default_rng(seed)
    one, noise = rng.normal(0, 2, (3, 6, 6)), rng.normal(0, 0.2, (3, 6, 6))
    shares = [np.exp(each) / np.exp(each).sum(0) for each in (one, one + noise)]
    compared = SegmentationEvaluator(CLASSES).compare([answer(one)], [answer(one + noise)])
    assert 0 < compared.difference <= np.abs(shares[0] - shares[1]).max() + 1e-6


def test_a_report_names_the_absent_and_refuses_nothing_but_void():
    counts = confusion_counts([random_answer(0)], [np.zeros((5, 7), np.uint8)], 3)
    report = report_of(counts, CLASSES, 1)
    assert report.absent_classes == ("sky", "car")
    assert (report.num_pixels, report.num_images) == (35, 1)
    assert report.per_class[1].iou is None
    with pytest.raises(DataError, match="all of the truth is void"):
        report_of(confusion_counts([random_answer(0)], [np.full((5, 7), 255, np.uint8)], 3), CLASSES, 1)
