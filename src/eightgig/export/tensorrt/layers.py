"""The layers of an engine and what they compute in, read from TensorRT's build log or from its inspector.

The log (seen with TensorRT for RTX 1.7.1) has one line a layer after `Layers:`, when profiling is DETAILED and the
logger VERBOSE; it needs no GPU. The inspector's JSON needs one.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from eightgig.core.errors import ExportError
from eightgig.export.tensorrt.records import EngineLayer

_PRECISIONS = {"float": "fp32", "half": "fp16", "bfloat16": "bf16", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
_PRECISIONS |= {name: name for name in ("fp8", "fp4", "int4", "int8", "int32", "int64", "uint8", "bool")}
# From the widest; what a layer that multiplies nothing computes in is the widest that it reads.
_WIDEST_FIRST = ("fp32", "bf16", "fp16", "fp8", "fp4", "int64", "int32", "int8", "uint8", "int4", "bool")

_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: .*?Metadata: ?(?P<metadata>.*)"
)
_TENSOR = re.compile(r"Dimensions: \[(?P<shape>[-\d,]*)\].*?Datatype: (?P<kind>\w+)")
_ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*)\]")
_BETWEEN_ONNX_LAYERS = re.compile("[\x1e\x1f]|(?<=\\])(?=\\[ONNX Layer: )")
_MATRIX_TYPES = re.compile(r"corr|conv(?!ert)|gemm|mat(rix)?_?mul|fully_?connected|mha|attention", re.IGNORECASE)
# Fused layers are named for what they fuse: __myl_CorrSilu, __myl_FcAddDivErf, _gemm_mha_v2.
_FUSED_TYPES = ("runtime_fusion", "fusion", "kgen", "myelin")
_FUSED_NAME = re.compile(r"^__myl_(?P<words>[A-Z][A-Za-z0-9]*)")
_MATRIX_WORDS = frozenset({"Corr", "Conv", "Deco", "Fc", "Gemm", "Matm", "Mha", "Dot"})
_FUSED_KERNEL = re.compile(r"gemm|mha|fmha|conv", re.IGNORECASE)
_DATATYPE = re.compile(r"\b(" + "|".join(sorted(_PRECISIONS, key=len, reverse=True)) + r")\b", re.IGNORECASE)


class _Tensor(NamedTuple):
    precision: str
    size: int


def layers_from_log(messages: Iterable[str]) -> tuple[EngineLayer, ...]:
    """Return the layers that the build's VERBOSE messages list; none when they list none."""
    return tuple(
        _layer_from_line(match)
        for message in messages
        if message.startswith("Layers:")
        for line in message.splitlines()
        if (match := _LINE.match(line))
    )


def layers_from_inspector(text: str) -> tuple[EngineLayer, ...]:
    """Return the layers of the JSON that an EngineInspector writes for an engine built with DETAILED profiling.

    Raises:
        ExportError: it is no such JSON, or holds only names, as it does without DETAILED.
    """
    try:
        return tuple(_layer_from_json(entry) for entry in json.loads(text)["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"wanted the inspector's JSON with the types of every layer, found {text[:80]!r}. "
            "Build the engine again with DETAILED profiling."
        ) from error


def require_engine_precision(
    layers: Sequence[EngineLayer], claimed: str, *, exempt_nodes: Collection[str] = ()
) -> None:
    """Refuse an engine that multiplies in another precision than it claims.

    INT8 is held to the products: the inputs and the weights of the layer. What a layer writes does not count: TensorRT
    for RTX writes float32 from INT8 convolutions and quantizes it in a layer of its own.

    Args:
        layers: of the engine.
        claimed: `fp32`, `fp16`, `bf16` or `int8`.
        exempt_nodes: ONNX nodes that may be in another precision.

    Raises:
        ExportError: names the layers that compute in something else.
    """
    matrix = [layer for layer in layers if layer.is_matrix]
    if not matrix:
        raise ExportError(
            f"wanted an engine in {claimed}, found no layer that multiplies among {len(layers)} layers: nothing "
            "proves its precision. Build it with DETAILED profiling and a VERBOSE logger."
        )
    others = [layer for layer in matrix if layer.precision != claimed and not _is_allowed(layer, exempt_nodes)]
    if others:
        shown = ", ".join(f"{_onnx_name(layer)} ({layer.precision})" for layer in others[:5])
        raise ExportError(
            f"wanted an engine in {claimed}, found {len(others)} of its {len(matrix)} matrix layers in another "
            f"precision: {shown}{', ...' if len(others) > 5 else ''}. Build it from an ONNX file in {claimed}: "
            "TensorRT takes its types from there."
        )


def unproven_nodes(layers: Iterable[EngineLayer], matrix_nodes: Iterable[str]) -> tuple[str, ...]:
    """Return the matrix nodes of an ONNX file that no matrix layer of its engine names."""
    named = {name for layer in layers if layer.is_matrix for name in layer.onnx_layers}
    return tuple(name for name in matrix_nodes if name not in named)


def changed_nodes(layers: Iterable[EngineLayer], precisions: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes that the engine multiplies in another precision than the ONNX file does, with the engine's.

    Strong types hold tensors, not always products: TensorRT for RTX 1.7.1 makes one fp16 product of a cast to float32,
    a product in float32 and a cast back.

    Args:
        layers: of the engine.
        precisions: by node, that of the file.
    """
    found = {name: layer.precision for layer in layers if layer.is_matrix for name in layer.onnx_layers}
    return {name: found[name] for name, wanted in precisions.items() if found.get(name, wanted) != wanted}


def _is_allowed(layer: EngineLayer, exempt_nodes: Collection[str]) -> bool:
    return any(name in exempt_nodes for name in layer.onnx_layers)


def _onnx_name(layer: EngineLayer) -> str:
    return layer.onnx_layers[0] if layer.onnx_layers else layer.name


def _layer_from_line(match: re.Match[str]) -> EngineLayer:
    inputs, constants, outputs = (
        [_Tensor(_precision(found["kind"]), _size(found["shape"])) for found in _TENSOR.finditer(match[part])]
        for part in ("inputs", "constants", "outputs")
    )
    return _layer(match["name"], match["kind"], inputs, constants, outputs, match["metadata"])


def _layer_from_json(entry: Mapping[str, Any]) -> EngineLayer:
    inputs, constants, outputs = (
        [_tensor_from_json(tensor) for tensor in entry.get(part, ())] for part in ("Inputs", "Constants", "Outputs")
    )
    for part in ("Weights", "Bias"):  # TensorRT's own convolutions name theirs apart
        if entry.get(part, {}).get("Count"):
            constants.append(_Tensor(_precision(entry[part]["Type"]), entry[part]["Count"]))
    return _layer(entry["Name"], entry["LayerType"], inputs, constants, outputs, entry.get("Metadata", ""))


def _tensor_from_json(tensor: Mapping[str, Any]) -> _Tensor:
    text = str(tensor.get("Datatype") or tensor["Format/Datatype"])
    found = _DATATYPE.search(text)
    return _Tensor(_precision(found[1] if found else text), prod(tensor["Dimensions"]))


def _layer(
    name: str, kind: str, inputs: list[_Tensor], constants: list[_Tensor], outputs: list[_Tensor], metadata: str
) -> EngineLayer:
    is_matrix = _is_matrix(name, kind)
    return EngineLayer(
        name=name,
        layer_type=kind,
        inputs=tuple(tensor.precision for tensor in inputs),
        constants=tuple(tensor.precision for tensor in constants),
        outputs=tuple(tensor.precision for tensor in outputs),
        onnx_layers=_onnx_layers(metadata),
        is_matrix=is_matrix,
        precision=_of_products(inputs, constants) if is_matrix else _widest((*inputs, *constants) or outputs),
    )


def _is_matrix(name: str, kind: str) -> bool:
    if kind not in _FUSED_TYPES:
        return bool(_MATRIX_TYPES.search(kind))
    fused = _FUSED_NAME.match(name)
    if fused is None:
        return bool(_FUSED_KERNEL.search(name))
    return not _MATRIX_WORDS.isdisjoint(re.findall("[A-Z][a-z0-9]*", fused["words"]))


def _of_products(inputs: Sequence[_Tensor], constants: Sequence[_Tensor]) -> str:
    """Return the common type of both factors: data and the largest constant, or else the first two inputs.

    A layer may read a third tensor (a residual), scales and a bias, which take no part in the products; nor does the
    mask that fused attention reads.
    """
    read = [tensor.precision for tensor in inputs if tensor.precision != "bool"]
    weight = max((tensor for tensor in constants if tensor.size > 1), key=lambda tensor: tensor.size, default=None)
    if weight is not None and weight.precision in read:
        return weight.precision
    if len(read) > 1 and read[0] == read[1]:
        return read[0]
    return "mixed" if read else "none"


def _widest(tensors: Sequence[_Tensor]) -> str:
    return min((tensor.precision for tensor in tensors), key=_rank, default="none")


def _rank(precision: str) -> int:
    return _WIDEST_FIRST.index(precision) if precision in _WIDEST_FIRST else len(_WIDEST_FIRST)


def _precision(datatype: str) -> str:
    return _PRECISIONS.get(datatype.lower(), datatype.lower())


def _size(shape: str) -> int:
    return prod(int(size) for size in shape.split(",")) if shape else 1


def _onnx_layers(metadata: str) -> tuple[str, ...]:
    found = (_ONNX_LAYER.match(part) for part in _BETWEEN_ONNX_LAYERS.split(metadata))
    return tuple(match[1] for match in found if match)
