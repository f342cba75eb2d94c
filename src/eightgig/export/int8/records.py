"""What the search for an INT8 file found, as JSON keeps it; imports nothing heavy."""

from eightgig.core.records import Record
from eightgig.export.int8.parameters import CalibrationMethod, Int8Target, QuantizedOperators, WeightType


class Int8Recipe(Record):
    """All that decides an INT8 file, beside the network and its calibration.

    Attributes:
        target: `int8_cpu` for ONNX Runtime on a CPU, `int8_trt` for TensorRT.
        method: how the activations' ranges are read.
        weight_type: of all weights but those of depthwise layers, which are `int8`.
        operators: `all` quantizes what lies between matrix layers too, `matrix` only these.
        float_layers: matrix layers that stay in float.
    """

    target: Int8Target
    method: CalibrationMethod
    weight_type: WeightType
    operators: QuantizedOperators = "all"
    float_layers: tuple[str, ...] = ()


class Int8Candidate(Record):
    """One recipe that was tried.

    Attributes:
        recipe: what was tried.
        score: the judge's, 0 to 1. `int8_trt` is judged in float arithmetic on exactly its INT8 values, because this
            machine's INT8 kernels are not TensorRT's.
        drop: the float file's score less this one's; negative where it does better.
        latency_ratio: of batch 1 against the float file in ONNX Runtime on this CPU, run in turn; below 1 is faster.
            Recipes that differ in `method` alone share it. None for `int8_trt`.
        size_bytes: of the file.
        passed: whether `drop` is within the gate.
        on_pareto: whether no other of its target is at least as good in both score and cost (latency, or the number
            of float layers for `int8_trt`), and better in one.
        chosen: whether it is its target's file.
    """

    recipe: Int8Recipe
    score: float
    drop: float
    latency_ratio: float | None
    size_bytes: int
    passed: bool
    on_pareto: bool = False
    chosen: bool = False


class LayerSensitivity(Record):
    """What quantizing one layer alone does to the network's outputs.

    Attributes:
        target: whose recipe was used.
        layer: the node's name.
        operator: for example `Conv`.
        divergence: power of the outputs' error by the variance of the float outputs; 0.01 is 20 dB.
        kept_float: whether the chosen recipe leaves it in float.
    """

    target: Int8Target
    layer: str
    operator: str
    divergence: float
    kept_float: bool


class QuantizationReport(Record):
    """How both INT8 files were chosen.

    Attributes:
        reference_score: the judge's score of the float file.
        max_drop: the gate.
        num_calibration_samples: samples that the ranges were read from.
        num_judged_samples: validation samples that every recipe was judged on; None in a report of an older version.
        num_validation_samples: of which these are a part.
        int8_cpu: the chosen recipe for the CPU.
        int8_trt: the chosen recipe for TensorRT.
        candidates: all that was tried, in that order.
        sensitivity: most sensitive first; empty where it was not needed.
        passed: whether both files keep the gate; where one does not, it is the best that was found.
    """

    reference_score: float
    max_drop: float
    num_calibration_samples: int
    num_judged_samples: int | None = None
    num_validation_samples: int | None = None
    int8_cpu: Int8Candidate
    int8_trt: Int8Candidate
    candidates: tuple[Int8Candidate, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    passed: bool
