"""What an engine is asked to be and what it turned out to be; imports nothing heavy."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from eightgig.core.records import Record

ToolkitName = Literal["tensorrt_rtx", "tensorrt"]
ToolkitChoice = Literal["auto", "tensorrt_rtx", "tensorrt"]
Shape = tuple[int, ...]


class BatchProfile(Record):
    """The batch sizes that an engine takes: from `smallest` to `largest`, fastest at `usual`."""

    smallest: int = Field(1, ge=1)
    usual: int = Field(1, ge=1)
    largest: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.smallest <= self.usual <= self.largest:
            raise ValueError(
                f"wanted smallest <= usual <= largest, found {self.smallest}, {self.usual}, {self.largest}"
            )
        return self


class ShapeProfile(Record):
    """The shapes of one input: between `smallest` and `largest` in every dimension, fastest at `usual`."""

    smallest: Shape
    usual: Shape
    largest: Shape


class EngineRequest(Record):
    """What an engine is to be.

    Attributes:
        compute_capability: of the card, for example (8, 6) for an RTX 3070; `current` is the card in this machine.
        batch: for every input whose first dimension alone is free.
        shapes: by input, where other dimensions are free too.
        workspace_bytes: the most scratch memory that one layer may take; None leaves it to TensorRT.
        allows_tf32: whether float32 products may be rounded to TF32 (10 bits of fraction) on cards that have it.
    """

    compute_capability: tuple[int, int] | Literal["current"] = (8, 6)
    batch: BatchProfile = BatchProfile()
    shapes: dict[str, ShapeProfile] = Field(default_factory=dict)
    workspace_bytes: int | None = Field(None, gt=0)
    allows_tf32: bool = False


class EngineLayer(Record):
    """One layer of a built engine, as TensorRT reports it.

    Attributes:
        name: TensorRT's.
        layer_type: TensorRT's, for example `correlation`, `gemm`, `kgen`.
        inputs: the precision of each tensor that it reads; `constants` and `outputs` likewise.
        onnx_layers: names of the ONNX nodes that it comes from, as far as TensorRT says.
        is_matrix: whether it multiplies matrices or convolves, which is where precision costs or gains.
        precision: what it computes in: of a matrix layer both factors' type, `mixed` where they differ; of another
            layer the widest type it reads. `none` where nothing is said.
    """

    name: str
    layer_type: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx_layers: tuple[str, ...]
    is_matrix: bool
    precision: str


class EngineTensor(Record):
    """An input or output: -1 stands for a free dimension; inputs with one have a profile."""

    name: str
    dtype: str
    shape: Shape
    profile: ShapeProfile | None = None


class EngineManifest(Record):
    """What binds an engine to the machine and the file it was made for, and what it computes in.

    Attributes:
        toolkit: the Python module that built it.
        toolkit_version: the engine is read by this version alone.
        precision: of the matrix layers, proved from `layers`.
        exempt_nodes: matrix nodes that the ONNX file leaves in another precision, as its card says.
        unproven_nodes: matrix nodes of the ONNX file that no layer of the engine names.
        changed_nodes: matrix nodes that the engine multiplies in another precision than the file, with that precision.
        compute_capability: of the card that it was built for.
        gpu: the card it was built on; None when it was built without one. `driver` likewise.
        request: what was asked for.
        build_seconds: parsing and building, without reading files.
        platform: system and processor, for example `Linux x86_64`.
        seal: SHA-256 over all other fields, so that an edited manifest is noticed.
    """

    toolkit: ToolkitName
    toolkit_version: str
    precision: str
    exempt_nodes: tuple[str, ...]
    unproven_nodes: tuple[str, ...]
    changed_nodes: dict[str, str]
    layers: tuple[EngineLayer, ...]
    compute_capability: tuple[int, int]
    gpu: str | None
    driver: str | None
    platform: str
    onnx_sha256: str
    plan_sha256: str
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    request: EngineRequest
    build_seconds: float
    eightgig_version: str
    seal: str = ""

    @property
    def matrix_layers_by_precision(self) -> dict[str, int]:
        """Return how many matrix layers compute in which precision."""
        return dict(Counter(layer.precision for layer in self.layers if layer.is_matrix).most_common())

    @property
    def layers_by_type(self) -> dict[str, int]:
        """Return how many layers there are of each of TensorRT's types."""
        return dict(Counter(layer.layer_type for layer in self.layers).most_common())


@dataclass(frozen=True)
class Engine:
    """A serialized engine (`plan`) with its manifest."""

    plan: bytes
    manifest: EngineManifest


@dataclass(frozen=True)
class UnusableEngine:
    """What is on disk in place of an engine, and why it is not used: damaged, edited, or half there."""

    reason: str
