"""What the user may choose about export; imports nothing heavy, so that Kedro reads it fast."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record

CalibrationMethod = Literal["minmax", "percentile", "entropy"]
WeightType = Literal["uint8", "int8", "int7"]


class QuantizeParameters(Record):
    """How the INT8 variant is made.

    Attributes:
        calibration_images: training images that the activations' ranges are read from.
        method: how a range is read. `minmax` keeps every value; the others cut rare large ones.
        percentile: share of values that `percentile` keeps, in per cent.
        weight_type: `auto` asks the CPU (see `eightgig.export.cpu`). `int8` is right with VNNI, AMX or on ARM;
            `uint8` (int8 in depthwise layers) and `int7` do not saturate on older x86: the first is the more
            accurate, the second the faster.
    """

    calibration_images: int = Field(default=128, ge=1)
    method: CalibrationMethod = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    weight_type: WeightType | Literal["auto"] = "auto"


class ParityParameters(Record):
    """How close an exported network must be to the one it was made from.

    Attributes:
        num_images: real inputs compared.
        tolerance: largest allowed difference of any probability.
    """

    num_images: int = Field(default=64, ge=1)
    tolerance: float = Field(default=1e-4, gt=0)
