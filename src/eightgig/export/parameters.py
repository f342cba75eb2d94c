"""What the user may choose about export; imports nothing heavy, so that Kedro reads it fast."""

from pydantic import Field

from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib
from eightgig.export.int8.parameters import CalibrationMethod, QuantizeParameters, WeightType
from eightgig.export.tensorrt.records import BatchProfile, EngineRequest, ToolkitChoice

__all__ = [
    "CalibrationMethod",
    "ExportParameters",
    "ParityParameters",
    "QuantizeParameters",
    "TensorrtParameters",
    "WeightType",
]


class ParityParameters(Record):
    """How close an exported network must be to the one it was made from.

    Attributes:
        num_images: real inputs compared.
        tolerance: largest allowed difference of any probability where all is computed in float32.
        tolerance_reduced: the same where anything is rounded (fp16, bf16, INT8).
    """

    num_images: int = Field(default=64, ge=1)
    tolerance: float = Field(default=1e-4, gt=0)
    tolerance_reduced: float = Field(default=1e-2, gt=0)


class TensorrtParameters(Record):
    """How TensorRT engines are made.

    Attributes:
        toolkit: `tensorrt_rtx`, `tensorrt`, or `auto`: TensorRT where it is installed and there is a GPU, otherwise
            TensorRT for RTX.
        compute_capability: of the card that engines are for, as `8.6` (RTX 3070); `current` is the card found here.
        max_batch: the largest batch that engines take; they are fastest at 1.
        workspace_gib: the most scratch memory that a layer may take.
    """

    toolkit: ToolkitChoice = "auto"
    compute_capability: str = Field(default="8.6", pattern=r"^(\d+\.\d|current)$")
    max_batch: int = Field(default=32, ge=1)
    workspace_gib: float = Field(default=1.0, gt=0)

    def request(self) -> EngineRequest:
        """Return the same as the builder takes it."""
        major, _, minor = self.compute_capability.partition(".")
        capability = "current" if self.compute_capability == "current" else (int(major), int(minor))
        return EngineRequest(
            compute_capability=capability,
            batch=BatchProfile(largest=self.max_batch),
            workspace_bytes=bytes_from_gib(self.workspace_gib),
        )


class ExportParameters(Record):
    """How the network is exported, and what is asked of the files.

    Attributes:
        simplify: whether needless nodes are dropped from the graphs.
    """

    simplify: bool = True
    parity: ParityParameters = ParityParameters()
    quantize: QuantizeParameters = QuantizeParameters()
    tensorrt: TensorrtParameters = TensorrtParameters()
