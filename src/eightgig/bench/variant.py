"""One way to run a network, as the benchmark is given it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eightgig.export.evaluator import Target
from eightgig.export.runners import Arrays, Runner

LabelledBatch = tuple[Arrays, Sequence[Target]]
"""Inputs by name as the network wants them, and what is right for each sample."""


@dataclass(frozen=True)
class Variant:
    """One way to run the network, not yet opened.

    Attributes:
        name: for the table, for example `onnx_int8_cpu`.
        runtime: for example `torch eager`, `ONNX Runtime`, `TensorRT`.
        precision: what it is meant to have; the row shows what the runner really has.
        device: where it is meant to run.
        open: gives the runner; an EightgigError that it raises, or that memory ran out, becomes the row's status.
        size_bytes: of its file; None when it has none.
    """

    name: str
    runtime: str
    precision: str
    device: str
    open: Callable[[], Runner]
    size_bytes: int | None = None

    @property
    def is_on_gpu(self) -> bool:
        """Whether it takes the card's memory."""
        return self.device.startswith("cuda")
