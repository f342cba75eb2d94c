"""What the user may choose about INT8; imports nothing heavy, so that Kedro reads it fast."""

from typing import ClassVar, Literal

from pydantic import Field

from eightgig.core.records import Record

CalibrationMethod = Literal["minmax", "percentile", "entropy"]
WeightType = Literal["uint8", "int8", "int7"]
Int8Target = Literal["int8_cpu", "int8_trt"]
QuantizedOperators = Literal["all", "matrix"]


class QuantizeParameters(Record):
    """How the INT8 variants are made.

    Attributes:
        calibration_images: training samples that the activations' ranges are read from.
        methods: ways to read a range that are tried. `minmax` keeps every value; the others cut rare large ones.
        percentile: share of values that `percentile` keeps, in per cent.
        weight_type: of `int8_cpu`; `auto` tries those that this CPU multiplies without saturating (see
            `eightgig.export.cpu`). `int8` is right with VNNI, AMX or on ARM; `uint8` (int8 in depthwise layers) and
            `int7` do not saturate on older x86: the first is the more accurate, the second the faster.
        max_drop: of the score, 0 to 1, that a file may cost; 0.005 is half a point.
        eval_samples: validation samples, at most, that every recipe is judged on.
        sensitivity: when every layer's share of the damage is measured: `auto` where no recipe for the whole network
            keeps `max_drop`, or `always`.
        sensitivity_samples: calibration samples that it is measured on.
    """

    renamed: ClassVar = {"judged_images": "eval_samples"}

    calibration_images: int = Field(default=128, ge=1)
    methods: tuple[CalibrationMethod, ...] = Field(default=("minmax", "percentile", "entropy"), min_length=1)
    percentile: float = Field(default=99.99, gt=50, le=100)
    weight_type: WeightType | Literal["auto"] = "auto"
    max_drop: float = Field(default=0.005, ge=0, le=1)
    eval_samples: int = Field(default=1000, ge=1)
    sensitivity: Literal["auto", "always"] = "auto"
    sensitivity_samples: int = Field(default=4, ge=1)
