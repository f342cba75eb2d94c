"""The detector's loss by hand, its sums over images, and its objective."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eightgig.data.images.transforms import DeviceColour
from eightgig.tasks.detection.metrics import map50
from eightgig.tasks.detection.model import Multiples, YoloV5
from eightgig.tasks.detection.objective import DetectionObjective, soft_detection_loss_sum, true_boxes
from eightgig.tasks.detection.parameters import DetectionLossParameters
from eightgig.tasks.detection.yolo_loss import complete_iou, detection_loss_sum, find_candidates

ANCHORS = torch.tensor([[[8.0, 8.0], [16.0, 16.0], [8.0, 16.0]], [[32.0, 32.0]] * 3, [[64.0, 64.0]] * 3])
PARAMETERS = DetectionLossParameters()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return YoloV5(Multiples(0.33, 0.125), 3, ANCHORS)


def batch_of(boxes, labels, size=64, images=None):
    boxes_NM4, labels_NM = torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels)
    count = len(boxes_NM4)
    return {
        "images": torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8) if images is None else images,
        "boxes": boxes_NM4,
        "box_labels": labels_NM,
        "indices": torch.arange(count),
        "scale": torch.ones(count),
        "offset": torch.zeros(count, 2),
        "sizes": torch.full((count, 2), size),
    }


def objective_of(network):
    colour = DeviceColour(mean=(0, 0, 0), std=(1, 1, 1))
    return DetectionObjective(colour, network, parameters=PARAMETERS, num_classes=3, score=map50)


def test_complete_iou_by_hand():
    same = torch.tensor([2.0, 2.0, 4.0, 4.0])
    assert complete_iou(same, same).item() == pytest.approx(1, abs=1e-5)
    shifted = torch.tensor([4.0, 2.0, 4.0, 4.0])  # half of it overlaps: IoU 8 / 24; 2 apart within 6 x 4
    assert complete_iou(same, shifted).item() == pytest.approx(1 / 3 - 4 / 52, abs=1e-5)
    flat = torch.tensor([2.0, 2.0, 4.0, 2.0])
    aspect = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    weight = aspect / (1 - 0.5 + aspect)
    assert complete_iou(same, flat).item() == pytest.approx(0.5 - weight * aspect, abs=1e-5)


def test_a_box_is_learnt_in_its_cell_and_the_two_nearest_by_anchors_that_fit():
    # On a level of stride 8: the centre is (2.25, 3.75) cells, so the left and the lower cell are near too.
    boxes_NM4 = torch.tensor([[[14.0, 26.0, 22.0, 34.0], [0.0, 0.0, 0.0, 0.0]]]) / 8
    found = find_candidates(boxes_NM4, torch.tensor([[2, -1]]), ANCHORS[0] / 8, (8, 8), 1.5)
    chosen = found.mask[0]
    cells = {
        (a, r, c)
        for a, r, c in zip(*(x[0][chosen].tolist() for x in (found.anchor, found.row, found.column)), strict=True)
    }
    assert cells == {(0, 3, 2), (0, 3, 1), (0, 4, 2)}
    assert set(found.label[0][chosen].tolist()) == {2}
    own = found.target[0][chosen][found.column[0][chosen].eq(2) & found.row[0][chosen].eq(3)][0]
    assert own.tolist() == pytest.approx([0.25, 0.75, 1, 1])


def test_a_box_at_the_edge_has_no_cell_outside():
    boxes_NM4 = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]) / 8 - torch.tensor([0.2, 0.2, 0.2, 0.2])
    found = find_candidates(boxes_NM4, torch.tensor([[0]]), ANCHORS[0] / 8, (8, 8), 1.5)
    assert found.mask.sum() == 1


def test_without_boxes_only_objectness_counts(network):
    raw = network(torch.zeros(2, 3, 64, 64))
    nothing = torch.zeros(2, 8, 4), torch.full((2, 8), -1)
    loss = detection_loss_sum(raw, *nothing, network.anchors, parameters=PARAMETERS)
    assert (loss.box.item(), loss.classes.item()) == (0, 0)
    expected = sum(
        weight * torch.nn.functional.softplus(level[..., 4].double()).flatten(1).mean(1).sum().item()
        for weight, level in zip(PARAMETERS.level_weights, raw, strict=True)
    )
    assert loss.objectness.item() == pytest.approx(expected * (64 / 640) ** 2, rel=1e-4)


def test_padding_changes_nothing(network):
    raw = network(torch.rand(1, 3, 64, 64))
    box, label = [[8.0, 8.0, 24.0, 24.0]], [1]
    short = detection_loss_sum(
        raw, torch.tensor([box]), torch.tensor([label]), network.anchors, parameters=PARAMETERS
    ).total
    padded = detection_loss_sum(
        raw,
        torch.tensor([box + [[0.0] * 4] * 7]),
        torch.tensor([label + [-1] * 7]),
        network.anchors,
        parameters=PARAMETERS,
    ).total
    assert short.item() == pytest.approx(padded.item(), rel=1e-6)


def test_any_micro_batches_add_up_to_the_whole(network):
    network.double().eval()
    boxes = [
        [[4.0, 4, 20, 20], [30, 30, 62, 62]],
        [[8, 8, 40, 30], [0, 0, 0, 0]],
        [[0.0] * 4] * 2,
        [[1, 2, 60, 60]] * 2,
    ]
    labels = [[0, 1], [2, -1], [-1, -1], [1, 1]]
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64)

    def gradients(cuts):
        network.zero_grad()
        total = 0.0
        for first, last in cuts:
            raw = network(images[first:last])
            targets = torch.tensor(boxes[first:last], dtype=torch.float64), torch.tensor(labels[first:last])
            loss = detection_loss_sum(raw, *targets, network.anchors, parameters=PARAMETERS).total
            loss.backward()
            total += loss.item()
        return total, torch.cat([weight.grad.flatten() for weight in network.parameters()])

    whole, wanted = gradients([(0, 4)])
    for cuts in ([(0, 2), (2, 4)], [(0, 1), (1, 2), (2, 3), (3, 4)]):
        total, found = gradients(cuts)
        assert total == pytest.approx(whole, rel=1e-9)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-10)


def test_the_loss_can_be_traced_without_values():
    with FakeTensorMode():
        network = YoloV5(Multiples(0.33, 0.125), 3)
        raw = network(torch.zeros(2, 3, 64, 64))
        boxes, labels = torch.zeros(2, 8, 4), torch.zeros(2, 8, dtype=torch.int64)
        detection_loss_sum(raw, boxes, labels, network.anchors, parameters=PARAMETERS).total.backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_it_learns_one_image(network):
    torch.manual_seed(1)
    images = torch.full((2, 3, 64, 64), 40, dtype=torch.uint8)
    images[0, :, 16:48, 8:40] = 220
    images[1, 0, 20:52, 24:56] = 220
    batch = batch_of([[[8, 16, 40, 48]], [[24, 20, 56, 52]]], [[0], [2]], images=images)
    objective, device = objective_of(network), torch.device("cpu")
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    before = objective.evaluate(network, [batch], device)
    for _ in range(200):
        network.train()
        optimizer.zero_grad()
        objective.loss_sum(network, batch, device).backward()
        optimizer.step()
    for part in network.modules():  # the running statistics of so few steps are not those of the batch
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.5
    for _ in range(8):
        with torch.no_grad():
            network.train()(objective._colour(batch["images"]))
    after = objective.evaluate(network, [batch], device)
    assert after["loss"] < 0.7 * before["loss"]
    assert after["score"] > 0.9
    assert after["loss"] == pytest.approx(sum(after[name] for name in ("box_loss", "objectness_loss", "class_loss")))


def test_truths_are_in_pixels_of_the_image():
    batch = batch_of([[[10, 20, 30, 40], [0, 0, 0, 0]]], [[1, -1]])
    batch |= {"scale": torch.tensor([0.5]), "offset": torch.tensor([[0.0, 8.0]]), "sizes": torch.tensor([[60, 128]])}
    (truth,) = true_boxes(batch)
    assert truth.xyxy_M4.tolist() == [[20, 24, 60, 60]]  # 64 is cut at the lower edge
    assert truth.labels_M.tolist() == [1]


def test_a_student_that_agrees_has_nothing_to_learn(network):
    teacher = tuple(level.detach() for level in network(torch.rand(2, 3, 64, 64)))
    same = tuple(level.clone().requires_grad_() for level in teacher)
    loss = soft_detection_loss_sum(same, teacher, temperature=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert max(level.grad.abs().max().item() for level in same) < 1e-5
    other = tuple((level + 1).requires_grad_() for level in teacher)
    assert soft_detection_loss_sum(other, teacher, temperature=2.0).item() > 0.01
