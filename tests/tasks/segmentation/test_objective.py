"""The loss over pixels by hand, its weights, and the score."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.present import present
from torch.nn import functional

from eightgig.data.images.transforms import DeviceColour
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.objective import (
    SegmentationObjective,
    confusion_of,
    dice_loss,
    iou_of_classes,
    mean_iou,
    median_frequency_weights,
    pixel_accuracy,
    pixel_cross_entropy,
    soft_segmentation_loss_sum,
)
from eightgig.tasks.segmentation.parameters import (
    ProgressiveSize,
    ResizeStep,
    SegmentationLossParameters,
    SegmenterTrainParameters,
)

ONES = torch.ones(3)


def test_cross_entropy_is_the_mean_over_known_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = VOID
    found = pixel_cross_entropy(logits, labels, ONES)
    for place in range(2):
        wanted = functional.cross_entropy(logits[place][None], labels[place][None], ignore_index=VOID)
        assert torch.isclose(found[place], wanted)
    weights = torch.tensor([0.5, 2.0, 7.0])
    wanted = functional.cross_entropy(logits[:1], labels[:1], weight=weights, ignore_index=VOID)
    assert torch.isclose(pixel_cross_entropy(logits, labels, weights)[0], wanted)


def test_a_image_that_is_all_void_costs_nothing():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4), VOID)
    loss = pixel_cross_entropy(logits, labels, ONES).sum() + dice_loss(logits, labels).sum()
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(present(logits.grad), torch.zeros_like(logits))


def test_dice_by_hand():
    """Four pixels, two classes: of class 0 one of two is sure, of class 1 both are half sure; one pixel is void."""
    shares = torch.tensor([[[1.0, 0.5, 0.5, 0.9]], [[0.0, 0.5, 0.5, 0.1]]])[None]
    labels = torch.tensor([[[0, 0, 1, VOID]]])
    dice_0 = 2 * (1.0 + 0.5) / (2.0 + 2)
    dice_1 = 2 * 0.5 / (1.0 + 1)
    found = dice_loss(shares.clamp_min(1e-9).log(), labels)
    assert torch.isclose(found, torch.tensor([1 - (dice_0 + dice_1) / 2]), atol=1e-5)


def test_dice_counts_the_classes_that_are_there():
    logits = torch.zeros(1, 5, 2, 2)
    logits[:, 2] = 50
    assert dice_loss(logits, torch.full((1, 2, 2), 2)).item() == pytest.approx(0, abs=1e-6)


def test_gradients_do_not_depend_on_how_a_batch_is_cut():
    torch.manual_seed(0)
    module = torch.nn.Conv2d(3, 3, 1)
    objective = SegmentationObjective(
        DeviceColour(), torch.tensor([1.0, 2.0, 0.5]), SegmentationLossParameters(dice=0.7)
    )
    images = torch.randint(0, 255, (5, 3, 6, 6), dtype=torch.uint8)
    masks = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 2, VOID], (5, 6, 6)).astype(np.uint8))

    def gradient(cuts):
        module.zero_grad()
        for part in cuts:
            objective.loss_sum(module, {"images": images[part], "masks": masks[part]}, torch.device("cpu")).backward()
        return present(module.weight.grad).clone()

    assert torch.allclose(gradient([slice(0, 5)]), gradient([slice(0, 2), slice(2, 3), slice(3, 5)]), atol=1e-5)


def test_the_score_is_that_of_all_pixels_together():
    """Confusion by hand: class 2 is never true, so it does not count; void does not either."""
    labels = torch.tensor([[[0, 0, 0, 1], [1, 1, VOID, VOID]]])
    predicted = torch.tensor([[[0, 0, 1, 1], [1, 2, 0, 1]]])
    confusion = confusion_of(predicted, labels, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    ious = iou_of_classes(confusion)
    assert ious[:2].tolist() == [pytest.approx(2 / 3), pytest.approx(2 / 4)]
    assert torch.isnan(ious[2])
    assert mean_iou(confusion) == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert pixel_accuracy(confusion) == pytest.approx(4 / 6)
    assert mean_iou(torch.zeros(3, 3)) == 0


def test_evaluation_adds_up_batches():
    objective = SegmentationObjective(DeviceColour(), ONES, SegmentationLossParameters())

    class Painted(torch.nn.Module):
        def forward(self, images):
            return functional.one_hot((images[:, 0] > 0).long(), 3).permute(0, 3, 1, 2).float() * 9

    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[:, :, :4] = 255
    masks = torch.zeros(4, 8, 8, dtype=torch.uint8)
    masks[:, :4] = 1
    masks[3] = 0
    batches = [{"images": images[:3], "masks": masks[:3]}, {"images": images[3:], "masks": masks[3:]}]
    found = objective.evaluate(Painted(), batches, torch.device("cpu"))
    assert found["score"] == pytest.approx((160 / 160 * 128 / 160 + 96 / 128) / 2)
    assert found["pixel_accuracy"] == pytest.approx(224 / 256)


def test_a_student_that_agrees_has_no_soft_loss():
    logits = torch.randn(2, 3, 4, 4)
    assert soft_segmentation_loss_sum(logits, logits, temperature=2.0).item() == pytest.approx(0, abs=1e-6)
    apart = soft_segmentation_loss_sum(logits, -logits, temperature=2.0)
    one = soft_segmentation_loss_sum(logits[:1], -logits[:1], temperature=2.0)
    other = soft_segmentation_loss_sum(logits[1:], -logits[1:], temperature=2.0)
    assert apart.item() == pytest.approx((one + other).item(), rel=1e-5)
    assert apart > 0


def test_weights_by_median_frequency():
    """Class 0 has 80 of 100 pixels where it is, class 1 30 of 200, class 2 10 of 100; class 3 is nowhere."""
    pixels = torch.tensor([[80, 20, 0, 0], [80, 10, 10, 0]])
    weights = median_frequency_weights(pixels, most=10)
    assert weights.tolist() == pytest.approx([0.15 / 0.8, 0.15 / 0.15, 0.15 / 0.1, 1.0])
    assert median_frequency_weights(pixels, most=1.2)[2] == pytest.approx(1.2)
    assert torch.equal(median_frequency_weights(torch.zeros(2, 3), most=10), torch.ones(3))


def test_low_resolution_comes_first():
    size = ProgressiveSize(512, (ResizeStep(until=0.3, size=0.25), ResizeStep(until=0.6, size=0.5)), 10)
    assert [size(epoch) for epoch in range(1, 11)] == [128] * 3 + [256] * 3 + [512] * 4
    assert ProgressiveSize(100, (ResizeStep(until=0.5, size=0.1),), 2)(1) == 32
    assert ProgressiveSize(100, (), 2)(1) == 100


def test_steps_must_rise():
    steps = [{"until": 0.6, "size": 0.5}, {"until": 0.3, "size": 0.75}]
    with pytest.raises(ValidationError, match="wanted steps in rising order"):
        SegmenterTrainParameters(progressive=steps)
