"""Suppression of doubles inside the ONNX file, so that a program that runs it gets boxes and needs no code of ours."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from eightgig.core.errors import ConfigurationError, ExportError
from eightgig.export.onnx import dump_onnx, load_onnx, read_card
from eightgig.export.runners import Array
from eightgig.tasks.detection.detections import Detections

_PREFIX = "suppression/"

# NonMaxSuppression chooses class by class, in no order between them: what it chose is written into a plane of scores
# that is nothing elsewhere, whose largest values then are the best of each image in order.
_GRAPH = """
suppression (float[batch, P, columns] predictions) => (float[found, 7] detections)
{
    centres, sizes, objectness, probabilities = Split <axis = 2> (predictions, parts)
    half_sizes = Mul (sizes, half)
    low = Sub (centres, half_sizes)
    high = Add (centres, half_sizes)
    boxes_NP4 = Concat <axis = 2> (low, high)

    scores_NPK = Mul (objectness, probabilities)
    best_NP1, label_NP1 = TopK <axis = 2> (scores_NPK, one)
    is_best_NPK = Equal (label_NP1, classes_11K)
    alone_NPK = Where (is_best_NPK, scores_NPK, nothing)
    alone_NKP = Transpose <perm = [0, 2, 1]> (alone_NPK)
    chosen_C3 = NonMaxSuppression (boxes_NP4, alone_NKP, max_detections, iou, confidence)

    chosen_C2 = Gather <axis = 1> (chosen_C3, image_and_place)
    best_NP = Squeeze (best_NP1, last)
    chosen_scores_C = GatherND (best_NP, chosen_C2)
    shape_NP = Shape (best_NP)
    empty_NP = ConstantOfShape <value = float[1] {0}> (shape_NP)
    plane_NP = ScatterND (empty_NP, chosen_C2, chosen_scores_C)
    ranked_NR, places_NR = TopK <axis = 1> (plane_NP, ranks)
    is_there_NR = Greater (ranked_NR, nothing)
    there_2D = NonZero (is_there_NR)
    there_D2 = Transpose <perm = [1, 0]> (there_2D)

    scores_D = GatherND (ranked_NR, there_D2)
    scores_D1 = Unsqueeze (scores_D, last_of_2)
    places_D = GatherND (places_NR, there_D2)
    places_D1 = Unsqueeze (places_D, last_of_2)
    images_D1 = Gather <axis = 1> (there_D2, first)
    addresses_D2 = Concat <axis = 1> (images_D1, places_D1)
    boxes_D4 = GatherND (boxes_NP4, addresses_D2)
    labels_D1 = GatherND (label_NP1, addresses_D2)
    images_as_float = Cast <to = 1> (images_D1)
    labels_as_float = Cast <to = 1> (labels_D1)
    detections = Concat <axis = 1> (images_as_float, boxes_D4, scores_D1, labels_as_float)
}
"""


def with_suppression(onnx_file: bytes, *, confidence: float, iou: float, max_detections: int = 300) -> bytes:
    """Return the file with `detections` in place of `predictions`, for a batch of any size, with the same card.

    `detections` is float32 D x 7: image in the batch, x1, y1, x2, y2, score, label; image by image, the best score
    first. They are those of `eightgig.tasks.detection.detections.suppress`: a prediction counts as its most
    probable class alone, its score is objectness times that probability. TensorRT for RTX 1.7 takes no such file: it
    lacks NonMaxSuppression and NonZero. Build its engines from the file without, and call `suppress`.

    Args:
        onnx_file: its only output is `predictions`, float32 N x P x (5 + K), P and K fixed; inside it may be fp16 or
            INT8.
        confidence: scores up to it are dropped, 0 to 1.
        iou: of two boxes of a class that overlap more, the lower score is dropped, 0 to 1.
        max_detections: detections kept of an image.

    Raises:
        ConfigurationError: a value out of its range.
        ExportError: not such a file.
    """
    if not (0 <= confidence <= 1 and 0 <= iou <= 1 and max_detections >= 1):
        raise ConfigurationError(
            f"suppression wants confidence and IoU of 0 to 1 and at least 1 box; found {confidence}, {iou} and "
            f"{max_detections}"
        )
    model = load_onnx(onnx_file)
    num_predictions, num_columns = _sizes(model)
    constants = _constants(num_predictions, num_columns - 5, confidence, iou, max_detections)
    part = onnx.parser.parse_graph(_GRAPH)
    part.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    for number, node in enumerate(part.node):
        node.name = f"{number}_{node.op_type}"
    part = onnx.compose.add_prefix_graph(part, _PREFIX, rename_inputs=False, rename_outputs=False)
    model.graph.node.extend(part.node)
    model.graph.initializer.extend(part.initializer)
    model.graph.output[0].CopyFrom(part.output[0])
    return dump_onnx(model, read_card(onnx_file))


def detections_of(outputs: Mapping[str, Array], num_images: int) -> list[Detections]:
    """Return the detections of each image from what a runner gave for a file of `with_suppression`.

    Raises:
        ExportError: there is no output `detections` D x 7.
    """
    table_D7 = outputs.get("detections")
    if table_D7 is None or table_D7.shape[1:] != (7,):
        found = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise ExportError(f"wanted the output `detections` D x 7 of a file with suppression, found {found or 'none'}")
    table_D7 = np.asarray(table_D7, dtype=np.float32)
    rows = (table_D7[table_D7[:, 0] == image] for image in range(num_images))
    return [Detections(np.ascontiguousarray(row[:, 1:5]), row[:, 5].copy(), row[:, 6].astype(np.int64)) for row in rows]


def _sizes(model: onnx.ModelProto) -> tuple[int, int]:
    """Return P and 5 + K."""
    outputs = {value.name: value.type.tensor_type for value in model.graph.output}
    wanted = outputs.get("predictions")
    sizes = [dim.dim_value for dim in wanted.shape.dim] if wanted is not None else []
    if len(outputs) != 1 or wanted is None or wanted.elem_type != TensorProto.FLOAT or len(sizes) != 3:
        raise ExportError(
            "suppression wants a detector's file with the only output `predictions`, float32 N x P x (5 + K); "
            f"found {', '.join(outputs) or 'no output'}. Export the network with its decoding."
        )
    if sizes[1] < 1 or sizes[2] < 6:
        raise ExportError(
            f"suppression wants fixed P and K in `predictions` N x P x (5 + K), found {sizes[1:]} (0 is any size). "
            "Export the network at one image size."
        )
    return sizes[1], sizes[2]


def _constants(
    num_predictions: int, num_classes: int, confidence: float, iou: float, max_detections: int
) -> dict[str, Array]:
    return {
        "parts": np.array([2, 2, 1, num_classes], np.int64),
        "classes_11K": np.arange(num_classes, dtype=np.int64).reshape(1, 1, -1),
        "ranks": np.array([min(max_detections, num_predictions)], np.int64),
        "max_detections": np.array([max_detections], np.int64),
        "iou": np.array([iou], np.float32),
        "confidence": np.array([confidence], np.float32),
        "half": np.array(0.5, np.float32),
        "nothing": np.array(0, np.float32),
        "one": np.array([1], np.int64),
        "first": np.array([0], np.int64),
        "last": np.array([2], np.int64),
        "last_of_2": np.array([1], np.int64),
        "image_and_place": np.array([0, 2], np.int64),
    }
