"""A trained network as one self-contained ONNX file that carries its own card.

The file holds the eval() graph with BatchNorm folded, a batch of any size, all weights inside, and in its metadata
what a program needs to use it: classes, colours, image size, and where it comes from.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import onnx
import torch
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from torch import Tensor, nn

from eightgig.core.errors import ExportError
from eightgig.export.precision import precision_card, require_precision
from eightgig.export.simplify import simplify

# The newest opset that torch 2.11 to 2.14 both write without converting versions afterwards.
OPSET = 20
_BATCH: Mapping[int, str] = MappingProxyType({0: "batch"})


def export_onnx(
    module: nn.Module,
    example: Mapping[str, Tensor],
    *,
    card: Mapping[str, str],
    simplified: bool = True,
    output_name: str = "logits",
    dynamic_axes: Mapping[int, str] = _BATCH,
) -> bytes:
    """Return `module` in eval mode as a checked float32 ONNX file with a dynamic batch.

    Args:
        module: float32, tensors in by position, one tensor out, batch first. It is not changed: a copy on the CPU is
            exported.
        example: the inputs by name, of the right shapes and dtypes; values and batch size do not matter.
        card: written to the file's metadata, with torch's version (see `ModelCard.to_metadata`).
        simplified: whether nodes are dropped where that is possible (see `eightgig.export.simplify`).
        output_name: the graph's output.
        dynamic_axes: the axes of every input that may have any length, with their names; 0 is the batch.

    Raises:
        ExportError: torch cannot export this network, or the result is not a valid self-contained float32 file.
    """
    frozen = _without_in_place(copy.deepcopy(module).cpu()).eval()
    # A batch of one would be taken for a constant.
    feeds = {name: one.detach()[:1].cpu().repeat(2, *[1] * (one.dim() - 1)) for name, one in example.items()}
    shape = {axis: torch.export.Dim(name) for axis, name in dynamic_axes.items()}
    with _quiet_exporter(), torch.inference_mode(mode=False):
        try:
            program = torch.onnx.export(
                frozen,
                tuple(feeds.values()),
                dynamo=True,
                dynamic_shapes=tuple(shape for _ in feeds),
                input_names=list(feeds),
                output_names=[output_name],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise ExportError(
                f"{type(module).__name__}: torch cannot export it to ONNX ({reason}). "
                "Usual causes: Python branches on tensor values, or an operator that ONNX does not have."
            ) from error
    if program is None:
        raise ExportError(f"{type(module).__name__}: torch gave no ONNX program")
    model = _without_notes(program.model_proto)
    if simplified:
        model = simplify(model, {name: tensor.numpy() for name, tensor in feeds.items()})
    file = dump_onnx(model, {**card, "torch_version": torch.__version__})
    require_precision(load_onnx(file), "fp32", name=type(module).__name__)
    return file


def load_onnx(onnx_file: bytes) -> onnx.ModelProto:
    """Return the parsed model.

    Raises:
        ExportError: not an ONNX file, or one whose weights lie in another file.
    """
    try:
        model = onnx.load_model_from_string(onnx_file)
    except DecodeError as error:
        raise ExportError(
            f"wanted an ONNX file, found {len(onnx_file)} bytes that are none. Export it again."
        ) from error
    outside = [tensor.name for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ExportError(
            f"wanted a self-contained ONNX file, found {len(outside)} tensors with their data in another file "
            f"({outside[0]}, ...). Save it with external_data=False."
        )
    if not model.graph.node:
        raise ExportError("wanted an ONNX file, found one without a single node. Export it again.")
    return model


def read_card(onnx_file: bytes) -> dict[str, str]:
    """Return the card of an ONNX file; empty when it carries none. ExportError as `load_onnx`."""
    return {entry.key: entry.value for entry in load_onnx(onnx_file).metadata_props}


def dump_onnx(model: onnx.ModelProto, card: Mapping[str, str]) -> bytes:
    """Return the bytes of `model` with `card` and `precision_card` as its metadata, after ONNX's own full check.

    Raises:
        ExportError: the model is not valid, or larger than the 2 GiB that one file may hold.
    """
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(card) | precision_card(model))
    try:
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    except (EncodeError, ValueError) as error:  # protobuf's limit
        raise ExportError(f"the model does not fit one ONNX file of 2 GiB: {error}") from error
    load_onnx(content)
    return content


def _without_in_place(module: nn.Module) -> nn.Module:
    # The exporter takes each in-place activation apart: EfficientNet-Lite0 took 12.4 s of CPU time with, 8.0 without.
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            setattr(part, "inplace", False)  # noqa: B010 - a module declares no such attribute
    return module


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    # The exporter notes the Python stack of every node: paths of this machine, and a third of a small file.
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all constants, at any depth: a branch or a loop has a graph of its own."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())  # functions have none
        sparse = [*getattr(graph, "sparse_initializer", ())]
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            graphs += [inner for inner in (attribute.g, *attribute.graphs) if inner.node or inner.initializer]
        yield from (part for one in sparse for part in (one.values, one.indices))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    with warnings.catch_warnings():
        # torch 2.11 calls its own deprecated test while it copies the program; 2.12 and later do not.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # Two inputs share an axis; it has its name all the same.
        warnings.filterwarnings("ignore", "# The axis name: .* will not be used", UserWarning)
        yield
