"""Export: the trained network as ONNX in float32 and INT8, each held against torch on real pictures."""

from collections.abc import Iterator
from typing import Any

from kedro.pipeline import Pipeline

from eightgig.core.records import Record
from eightgig.datasets.weights import Weights
from eightgig.export.parameters import ParityParameters, QuantizeParameters
from eightgig.export.parity import ParityReport
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of, restore
from eightgig.vram.runtime.measure import MeasuredPhase, MemoryMeter


class ExportParameters(Record):
    """How the network is exported, and what is asked of the files."""

    parity: ParityParameters = ParityParameters()
    quantize: QuantizeParameters = QuantizeParameters()


class ParityTable(Record):
    """One parity report for each exported file, by variant."""

    reports: dict[str, ParityReport]


def create_pipeline(case: Case) -> Pipeline:
    """Give the nodes from `weights` to `onnx_fp32`, `onnx_int8` and `parity`."""
    pictures = {"weights": "weights", "store": "store", "splits": "splits", "export": "params:export"}
    files = {"onnx_fp32": "onnx_fp32", "onnx_int8": "onnx_int8"}
    return stage_pipeline(
        "export",
        [
            stage_node(export_fp32, {"weights": "weights"}, ["onnx_fp32", "export_memory"], case=case),
            stage_node(quantize, {**pictures, "onnx_fp32": "onnx_fp32"}, "onnx_int8", case=case),
            stage_node(check_parity, {**pictures, **files}, "parity", case=case),
        ],
    )


def export_fp32(case: Case, weights: Weights) -> tuple[bytes, MeasuredPhase]:
    """Give the network as a float32 ONNX file with its card inside, and the memory that the export took."""
    import torch

    from eightgig.export.card import ClassifierCard
    from eightgig.export.onnx import export_onnx

    card = weights.card
    with MemoryMeter("export", "cpu") as meter:
        network = restore(case, weights)
        side = card.image_size
        file = export_onnx(
            network.module,
            torch.zeros(1, 3, side, side),
            card=ClassifierCard(
                model=card.model,
                classes=card.classes,
                mean=card.mean,
                std=card.std,
                image_size=side,
                weights_sha256=card.sha256,
            ).to_metadata(),
        )
    return file, meter.result()


def quantize(
    case: Case, weights: Weights, store: ImageStore, splits: Table, export: ExportParameters, onnx_fp32: bytes
) -> bytes:
    """Give the INT8 file, calibrated on training pictures as they look without augmentation."""
    from eightgig.export.quantize import quantize_int8

    number = export.quantize.calibration_images
    images = network_inputs(case, weights, store, indices_of(splits, "train"), num_images=number, batch_size=8)
    return quantize_int8(onnx_fp32, images, parameters=export.quantize)


def check_parity(
    case: Case,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    export: ExportParameters,
    onnx_fp32: bytes,
    onnx_int8: bytes,
) -> ParityTable:
    """Give how far each file's probabilities are from torch's on held-out pictures.

    INT8 rounds, so it never meets the float tolerance: its row tells the tolerance that it would have needed, and its
    accuracy decides (see the benchmark).
    """
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
    from eightgig.export.parity import check_parity as compare
    from eightgig.export.torch_runner import TorchRunner

    held_out = indices_of(splits, "test") + indices_of(splits, "val")
    batches = list(network_inputs(case, weights, store, held_out, num_images=export.parity.num_images, batch_size=16))
    reports = {}
    with TorchRunner(restore(case, weights).module) as reference:
        for variant, file in {"onnx_fp32": onnx_fp32, "onnx_int8": onnx_int8}.items():
            with OnnxRuntimeRunner(file) as candidate:
                reports[variant] = compare(reference, candidate, batches, tolerance=export.parity.tolerance)
    return ParityTable(reports=reports)


def network_inputs(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[Any]:
    """Yield normalised float32 N3HW arrays of pictures spread evenly over `indices`, `num_images` at most."""
    options = {"num_images": num_images, "batch_size": batch_size}
    return (images for images, _ in labelled_inputs(case, weights, store, indices, **options))


def labelled_inputs(
    case: Case, weights: Weights, store: ImageStore, indices: list[int], *, num_images: int, batch_size: int
) -> Iterator[tuple[Any, Any]]:
    """Yield the same with their labels, int64 N.

    Spread, because a store is sorted by class: its first pictures are all of one.
    """
    step = len(indices) / min(num_images, len(indices))
    chosen = [indices[int(position * step)] for position in range(min(num_images, len(indices)))]
    for batch in case.eval_batches(store, chosen, image_size=weights.card.image_size, batch_size=batch_size):
        yield case.inputs(weights.card, batch).numpy(), batch["labels"].numpy()
