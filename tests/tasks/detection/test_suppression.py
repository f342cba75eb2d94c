from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from eightgig.core.errors import ConfigurationError, ExportError
from eightgig.export.half import to_half
from eightgig.export.int8.calibration import calibrate
from eightgig.export.int8.parameters import QuantizeParameters
from eightgig.export.int8.quantizer import quantize
from eightgig.export.int8.records import Int8Recipe
from eightgig.export.onnx import dump_onnx, export_onnx, load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.tensorrt.builder import build_engine
from eightgig.export.tensorrt.toolkit import missing_reason
from eightgig.tasks.detection.detections import Detections, suppress
from eightgig.tasks.detection.suppression import detections_of, with_suppression

Predictions = NDArray[np.float32]
SETTINGS: dict[str, Any] = {"confidence": 0.25, "iou": 0.45, "max_detections": 300}


def pass_through(num_predictions: int, num_columns: int, name: str = "predictions") -> bytes:
    """A file that gives what it is given."""
    shape = ["batch", num_predictions or "any", num_columns]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], [name], name="same")],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return dump_onnx(model, {"classes": '["a", "b"]', "image_size": "640"})


def random_predictions(num_images: int, num_predictions: int, num_classes: int, seed: int = 0) -> Predictions:
    """Boxes in clusters, so that many are doubles."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(50, 590, (num_images, 12, 2))[:, rng.integers(0, 12, num_predictions)]
    sizes = rng.uniform(20, 120, (num_images, 12, 2))[:, rng.integers(0, 12, num_predictions)]
    boxes = np.concatenate([centres, sizes], axis=2) + rng.normal(0, 4, (num_images, num_predictions, 4))
    return np.concatenate([boxes, rng.random((num_images, num_predictions, 1 + num_classes))], axis=2).astype("float32")


def run(file: bytes, predictions_NPK: Predictions) -> list[Detections]:
    with OnnxRuntimeRunner(file) as runner:
        return detections_of(runner.run({"images": predictions_NPK}), len(predictions_NPK))


def assert_same(found: list[Detections], wanted: list[Detections]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.labels_M.tolist() == theirs.labels_M.tolist()
        assert np.abs(ours.scores_M - theirs.scores_M).max(initial=0) < 1e-6
        assert np.abs(ours.boxes_xyxy_M4 - theirs.boxes_xyxy_M4).max(initial=0) < 1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_classes", [1, 5])
def test_it_gives_what_suppress_gives(num_classes: int, seed: int) -> None:
    predictions_NPK = random_predictions(3, 500, num_classes, seed)
    found = run(with_suppression(pass_through(500, 5 + num_classes), **SETTINGS), predictions_NPK)
    wanted = suppress(predictions_NPK, **SETTINGS)
    assert all(10 < len(each.scores_M) < 300 for each in wanted)
    assert_same(found, wanted)
    assert [array.dtype for array in found[0]] == [np.float32, np.float32, np.int64]
    assert all((np.diff(each.scores_M) <= 0).all() for each in found)


def test_the_best_are_kept_where_there_are_too_many() -> None:
    predictions_NPK = random_predictions(2, 200, 5)
    settings: dict[str, Any] = {**SETTINGS, "max_detections": 7}
    found = run(with_suppression(pass_through(200, 10), **settings), predictions_NPK)
    assert [len(each.scores_M) for each in found] == [7, 7]
    assert_same(found, suppress(predictions_NPK, **settings))


def test_more_may_be_asked_for_than_there_are_predictions() -> None:
    predictions_NPK = random_predictions(2, 63, 2)
    assert_same(
        run(with_suppression(pass_through(63, 7), **SETTINGS), predictions_NPK), suppress(predictions_NPK, **SETTINGS)
    )


def test_any_batch_is_taken_and_empty_images_stay_empty() -> None:
    file = with_suppression(pass_through(100, 7), **SETTINGS)
    predictions_NPK = random_predictions(4, 100, 2)
    predictions_NPK[[0, 2], :, 4] = 0
    assert [len(each.scores_M) > 0 for each in run(file, predictions_NPK)] == [False, True, False, True]
    (nothing,) = run(file, predictions_NPK[:1])
    assert nothing.boxes_xyxy_M4.shape == (0, 4)


def test_the_card_stays_and_the_output_is_replaced() -> None:
    file = with_suppression(pass_through(100, 7), **SETTINGS)
    card = read_card(file)
    assert (card["classes"], card["image_size"], card["precision"]) == ('["a", "b"]', "640", "fp32")
    model = load_onnx(file)
    assert [value.name for value in model.graph.output] == ["detections"]
    assert [value.name for value in model.graph.input] == ["images"]
    onnx.checker.check_model(model, full_check=True)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


class TinyDetector(nn.Module):
    """Convolutions and a decoding, as a detector has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 7, 1))

    def forward(self, images_N3HW: Tensor) -> Tensor:
        raw = self.body(images_N3HW).flatten(2).transpose(1, 2).sigmoid()
        return torch.cat([raw[..., :4] * 32, raw[..., 4:]], dim=2)


@pytest.fixture(scope="module")
def detectors() -> dict[str, bytes]:
    fp32 = export_onnx(TinyDetector(), {"images": torch.zeros(1, 3, 32, 32)}, card={}, output_name="predictions")
    images_N3HW = np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32)
    parameters = QuantizeParameters(calibration_images=4, methods=("minmax",))
    calibration = calibrate(fp32, [{"images": images_N3HW}], parameters=parameters)
    int8 = quantize(calibration, Int8Recipe(target="int8_cpu", method="minmax", weight_type="int8"))
    return {"fp32": fp32, "fp16": to_half(fp32), "int8": int8}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_files_of_every_precision_keep_it(precision: str, detectors: dict[str, bytes]) -> None:
    settings: dict[str, Any] = {**SETTINGS, "confidence": 0.2}
    images_N3HW = np.random.default_rng(1).random((3, 3, 32, 32), dtype=np.float32)
    with (
        OnnxRuntimeRunner(detectors[precision], claimed=precision) as plain,
        OnnxRuntimeRunner(with_suppression(detectors[precision], **settings), claimed=precision) as whole,
    ):
        wanted = suppress(plain.run({"images": images_N3HW})["predictions"], **settings)
        assert sum(len(each.scores_M) for each in wanted) > 3
        assert_same(detections_of(whole.run({"images": images_N3HW}), 3), wanted)


@pytest.mark.skipif(missing_reason("tensorrt_rtx") is not None, reason="TensorRT for RTX is not installed")
def test_tensorrt_for_rtx_says_that_it_cannot_take_it() -> None:
    """When this fails it has learnt to: then say so in `with_suppression`."""
    file = with_suppression(pass_through(100, 7), **SETTINGS)
    with pytest.raises(ExportError, match=r"cannot take this ONNX file: .*Use operators that it has"):
        build_engine(file, choice="tensorrt_rtx")


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(ExportError, match=r"wants a detector's file with the only output `predictions`.*found logits"):
        with_suppression(pass_through(100, 7, "logits"), **SETTINGS)
    with pytest.raises(ExportError, match=r"wants fixed P and K .* found \[0, 7\] .* Export the network at one image"):
        with_suppression(pass_through(0, 7), **SETTINGS)
    with pytest.raises(ConfigurationError, match=r"found 1\.5, 0\.45 and 300"):
        with_suppression(pass_through(100, 7), confidence=1.5, iou=0.45)
    with pytest.raises(ExportError, match=r"`detections` D x 7 .* found predictions \(1, 2\)"):
        detections_of({"predictions": np.zeros((1, 2))}, 1)
