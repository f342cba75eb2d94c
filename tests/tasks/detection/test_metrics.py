from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from eightgig.core.errors import DataError
from eightgig.data.store.boxes import Boxes
from eightgig.tasks.detection.box_matching import compare_detections, confusion_table, match
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.metrics import map50, map50_95, mean_average_precision

CLASSES = ["cat", "dog", "cow"]
Row = tuple[float, float, float, float]
LEFT, MIDDLE, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def true(*rows: tuple[int, Row]) -> Boxes:
    """Boxes from (label, box)."""
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    return Boxes(boxes, np.array([label for label, _ in rows], np.int64))


def found(*rows: tuple[float, int, Row]) -> Detections:
    """Detections from (score, label, box)."""
    boxes = np.array([box for *_, box in rows], np.float32).reshape(-1, 4)
    scores, labels = np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], np.int64)
    return Detections(boxes, scores, labels)


def shifted(box: Row, by: float) -> Row:
    return (box[0] + by, box[1], box[2] + by, box[3])


def test_perfect_detections_have_a_mean_average_precision_of_one() -> None:
    targets = [true((0, LEFT), (1, RIGHT)), true((0, MIDDLE))]
    detections = [found((0.9, 0, LEFT), (0.8, 1, RIGHT)), found((0.7, 0, MIDDLE))]
    report, curves = mean_average_precision(detections, targets, CLASSES)
    assert (report.map50, report.map50_95) == pytest.approx((1, 1))
    assert (report.precision, report.recall, report.f1) == (1, 1, 1)
    assert (report.num_images, report.num_boxes, report.absent_classes) == (2, 3, ("cow",))
    assert 0 < report.confidence <= 0.7  # every confidence up to the lowest score does as well: a middle one
    assert [row.boxes for row in report.per_class] == [2, 1, 0]
    cow = report.per_class[2]
    assert (cow.ap50, cow.ap50_95, cow.precision, cow.recall) == (None, None, None, None)
    assert len(curves) == 2 * 101
    assert set(curves["class"]) == {"cat", "dog"}
    assert curves["recall"].tolist()[:101] == pytest.approx([i / 100 for i in range(101)])
    assert curves["precision"].tolist() == pytest.approx([1.0] * 202)


def test_one_miss_by_hand() -> None:
    """Two boxes, one found: precision 1 up to recall 0.5, which 51 of the 101 recalls are."""
    targets, detections = [true((0, LEFT), (0, RIGHT))], [found((0.9, 0, LEFT))]
    report, curves = mean_average_precision(detections, targets, CLASSES)
    assert report.map50 == pytest.approx(51 / 101)
    assert (report.precision, report.recall) == (1.0, 0.5)
    assert report.f1 == pytest.approx(2 / 3)
    assert curves["precision"].tolist() == pytest.approx([1.0] * 51 + [0.0] * 50)


def test_one_false_alarm_by_hand() -> None:
    """Best score wrong, then two right: precision 0, 1/2, 2/3; falling only, it is 2/3 at every recall."""
    targets = [true((0, LEFT), (0, RIGHT))]
    detections = [found((0.9, 0, MIDDLE), (0.8, 0, LEFT), (0.7, 0, RIGHT))]
    report, _ = mean_average_precision(detections, targets, CLASSES)
    assert report.map50 == pytest.approx(2 / 3)
    assert (report.precision, report.recall) == (pytest.approx(2 / 3), 1.0)
    assert report.confidence <= 0.7


def test_a_late_false_alarm_costs_nothing_but_moves_the_best_confidence() -> None:
    targets = [true((0, LEFT))]
    report, _ = mean_average_precision([found((0.9, 0, LEFT), (0.3, 0, RIGHT))], targets, CLASSES)
    assert (report.map50, report.f1) == pytest.approx((1.0, 1.0))
    assert 0.3 < report.confidence <= 0.9


def test_average_precision_by_hand_with_101_recalls() -> None:
    """Scores in order right, wrong, right, of three boxes: 1 up to recall 1/3, 2/3 up to recall 2/3, then 0."""
    targets = [true((0, LEFT), (0, MIDDLE)), true((0, RIGHT))]
    detections = [found((0.9, 0, LEFT), (0.5, 0, MIDDLE)), found((0.7, 0, LEFT))]
    wanted = (34 * 1 + 33 * (2 / 3) + 34 * 0) / 101  # 0..0.33, 0.34..0.66, 0.67..1
    assert map50(detections, targets, 3) == pytest.approx(wanted)


def test_the_ten_overlaps_by_hand() -> None:
    """Shifted by 2 of 10 pixels the overlap is 8/12: right at 0.50 to 0.65, wrong from 0.70 on."""
    targets, detections = [true((1, LEFT))], [found((0.9, 1, shifted(LEFT, 2)))]
    assert map50(detections, targets, 3) == pytest.approx(1)
    assert map50_95(detections, targets, 3) == pytest.approx(4 / 10)


def test_the_mean_is_over_the_classes_that_have_boxes() -> None:
    targets = [true((0, LEFT), (1, RIGHT))]
    detections = [found((0.9, 0, LEFT), (0.8, 2, MIDDLE))]
    report, _ = mean_average_precision(detections, targets, CLASSES)
    assert report.map50 == pytest.approx(0.5)
    assert [row.ap50 for row in report.per_class] == [pytest.approx(1.0), 0.0, None]
    assert report.per_class[1].precision == 0.0
    assert report.absent_classes == ("cow",)


def test_nothing_found_is_zero() -> None:
    report, _ = mean_average_precision([found(), found()], [true((0, LEFT)), true()], CLASSES)
    assert (report.map50, report.map50_95, report.precision, report.recall, report.f1) == (0, 0, 0, 0, 0)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    map50([found((0.9, 0, LEFT))], [true((0, LEFT))], 3)
    assert capsys.readouterr() == ("", "")


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)


def random_images(seed: int, num_images: int) -> tuple[list[Detections], list[Boxes]]:
    """Detections near the true boxes, with some of another class, some missing and some made up."""
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(num_images):
        boxes = random_boxes(rng, int(rng.integers(0, 6)))
        labels = rng.integers(0, 3, len(boxes))
        kept = rng.random(len(boxes)) < 0.8
        near = boxes[kept] + rng.normal(0, 2, (kept.sum(), 4)).astype(np.float32)
        made_up = random_boxes(rng, int(rng.integers(0, 4)))
        given = np.where(rng.random(kept.sum()) < 0.9, labels[kept], rng.integers(0, 3, kept.sum()))
        all_labels = np.concatenate([given, rng.integers(0, 3, len(made_up))]).astype(np.int64)
        scores = rng.uniform(0.05, 1, len(all_labels)).astype(np.float32)
        order = np.argsort(-scores)
        detections.append(Detections(np.concatenate([near, made_up])[order], scores[order], all_labels[order]))
        targets.append(Boxes(boxes, labels))
    return detections, targets


def by_torchmetrics(detections: Sequence[Detections], targets: Sequence[Boxes]) -> dict[str, torch.Tensor]:
    # Its own thresholds are rounded to float32, which moves boxes and recalls that lie on one of them.
    exact = {"iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "rec_thresholds": np.linspace(0, 1, 101).tolist()}
    metric = MeanAveragePrecision(backend="pycocotools", class_metrics=True, **exact)
    metric.update(
        [
            {
                "boxes": torch.from_numpy(each.boxes_xyxy_M4),
                "scores": torch.from_numpy(each.scores_M),
                "labels": torch.from_numpy(each.labels_M),
            }
            for each in detections
        ],
        [{"boxes": torch.from_numpy(e.xyxy_M4), "labels": torch.from_numpy(e.labels_M)} for e in targets],
    )
    result: dict[str, torch.Tensor] = metric.compute()
    return result


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_torchmetrics(seed: int) -> None:
    detections, targets = random_images(seed, 30)
    report, _ = mean_average_precision(detections, targets, CLASSES)
    wanted = by_torchmetrics(detections, targets)
    assert 0.2 < report.map50 < 0.95
    assert report.map50 == pytest.approx(float(wanted["map_50"]), abs=1e-6)
    assert report.map50_95 == pytest.approx(float(wanted["map"]), abs=1e-6)
    assert [row.ap50_95 for row in report.per_class] == pytest.approx(wanted["map_per_class"].tolist(), abs=1e-6)
    assert map50(detections, targets, 3) == report.map50
    assert map50_95(detections, targets, 3) == report.map50_95


def test_precision_and_recall_are_those_of_matching_at_the_named_confidence() -> None:
    detections, targets = random_images(5, 30)
    report, _ = mean_average_precision(detections, targets, CLASSES)
    table = confusion_table(detections, targets, CLASSES, confidence=report.confidence)
    counts = np.diag(table)[:3]
    assert [row.recall for row in report.per_class] == pytest.approx(list(counts / table.sum(axis=1)[:3]))
    assert [row.precision for row in report.per_class] == pytest.approx(list(counts / table.sum(axis=0)[:3]))


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(DataError, match="detections of 2 images, and 1 true boxes in 1 images"):
        map50([found(), found()], [true((0, LEFT))], 3)
    with pytest.raises(DataError, match="at least 1 true box; found detections of 1 images, and 0 true boxes"):
        map50([found()], [true()], 3)
    with pytest.raises(DataError, match="labels 0 to 2, found 0 to 7: the model and the data have different classes"):
        map50([found((0.9, 7, LEFT))], [true((0, LEFT))], 3)


def test_the_best_score_chooses_first_and_a_double_is_a_false_alarm() -> None:
    truth = true((0, LEFT), (0, RIGHT), (1, MIDDLE))
    detections = found((0.9, 0, shifted(LEFT, 2)), (0.8, 0, LEFT), (0.7, 0, MIDDLE), (0.1, 0, RIGHT))
    hits_H2, misses, false_alarms = match(detections, truth)
    assert hits_H2.tolist() == [[0, 0]]
    assert misses.tolist() == [1, 2]  # one only below the confidence, one only as another class
    assert false_alarms.tolist() == [1, 2]
    assert match(detections, truth, confidence=0.05).hits_H2.tolist() == [[0, 0], [3, 1]]
    assert match(detections, truth, iou=0.7).hits_H2.tolist() == [[1, 0]]


def test_empty_images_match() -> None:
    assert [len(part) for part in match(found(), true())] == [0, 0, 0]
    assert match(found(), true((0, LEFT))).misses.tolist() == [0]
    assert match(found((0.9, 0, LEFT)), true()).false_alarms.tolist() == [0]


def test_empty_boxes_overlap_nothing() -> None:
    point = (5, 5, 5, 5)
    hits_H2, misses, alarms = match(found((0.9, 0, point), (0.8, 0, LEFT)), true((0, point), (0, LEFT)))
    assert (hits_H2.tolist(), misses.tolist(), alarms.tolist()) == ([[1, 1]], [0], [0])


def test_the_confusion_table_by_hand() -> None:
    targets = [true((0, LEFT), (1, MIDDLE), (2, RIGHT)), true()]
    detections = [found((0.9, 0, LEFT), (0.8, 2, MIDDLE)), found((0.7, 1, LEFT), (0.1, 1, RIGHT))]
    table = confusion_table(detections, targets, CLASSES)
    assert list(table.index) == list(table.columns) == [*CLASSES, "background"]
    assert (table.index.name, table.columns.name) == ("actual", "predicted")
    cells = {(a, p): n for a, row in table.iterrows() for p, n in row.items() if n}
    assert cells == {("cat", "cat"): 1, ("dog", "cow"): 1, ("cow", "background"): 1, ("background", "dog"): 1}


def test_a_runner_is_compared_with_its_reference_by_hand() -> None:
    reference = [found((0.9, 0, LEFT), (0.8, 1, RIGHT)), found()]
    same = compare_detections(reference, reference)
    assert (same.same_count, same.unmatched, same.min_iou, same.max_score_diff) == (1.0, 0, pytest.approx(1), 0)
    assert (same.num_images, same.num_boxes) == (2, 2)
    other = [found((0.85, 0, shifted(LEFT, 1)), (0.8, 2, RIGHT)), found((0.3, 0, LEFT))]
    difference = compare_detections(reference, other)
    assert difference.same_count == 0.5
    assert difference.unmatched == 3
    assert difference.min_iou == pytest.approx(9 / 11)
    assert difference.max_score_diff == pytest.approx(0.05, abs=1e-6)
    with pytest.raises(DataError, match="found 1 images on one side and 2 on the other"):
        compare_detections(reference, other[:1])
