"""The search for INT8 files that keep accuracy: whole-network recipes first, then float layers where they must be."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eightgig.export.cpu import weight_types_for
from eightgig.export.int8.calibration import Calibration, calibrate
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt
from eightgig.export.int8.parameters import Int8Target, QuantizedOperators, QuantizeParameters
from eightgig.export.int8.quantizer import quantize, simulate
from eightgig.export.int8.records import Int8Candidate, Int8Recipe, LayerSensitivity, QuantizationReport
from eightgig.export.int8.sensitivity import measure_sensitivity
from eightgig.export.onnx import load_onnx
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.runners import Feeds, Runner

Judge = Callable[[Runner], float]

# A score is a ratio of counts, so a drop of just the gate must not fail by a rounding error.
_ROUNDING = 1e-9
_SAME_SPEED = 0.02
_MIN_ROUNDS = 5  # of timing, whose median shall not be that of one slow moment


@dataclass(frozen=True)
class Int8Result:
    """Two files from one calibration, and how they were chosen.

    Attributes:
        int8_cpu: for ONNX Runtime on a CPU.
        int8_trt: for TensorRT, proved by `lint_int8_trt`.
        report: all that was tried.
    """

    int8_cpu: bytes
    int8_trt: bytes
    report: QuantizationReport


def search_int8(
    onnx_fp32: bytes, calibration: Iterable[Feeds], judge: Judge, *, parameters: QuantizeParameters
) -> Int8Result:
    """Return the fastest INT8 file for the CPU and the most accurate for TensorRT that keep `parameters.max_drop`.

    Recipes for the whole network are tried first. Where none keeps the gate, the layers that cost most alone stay in
    float: 1, 2, 4, ... of them, at most half, then as few as bisection finds. Where that fails too, the most accurate
    file is given and the report does not pass.

    Args:
        onnx_fp32: a float32 file of `export_onnx`.
        calibration: named arrays of training samples, batch first, as the network wants them.
        judge: gives the score of an open runner, 0 to 1, on validation samples; called once a candidate.
        parameters: how.

    Raises:
        ExportError: as `calibrate`.
    """
    found = calibrate(onnx_fp32, calibration, parameters=parameters)
    with OnnxRuntimeRunner(onnx_fp32, name="fp32") as reference:
        score = judge(reference)
        searches = [_Search(target, found, reference, score, judge, parameters) for target in ("int8_cpu", "int8_trt")]
        for search in searches:
            search.run()
    for_cpu, for_trt = searches
    lint_int8_cpu(load_onnx(for_cpu.file))
    lint_int8_trt(load_onnx(for_trt.file))
    report = QuantizationReport(
        reference_score=score,
        max_drop=parameters.max_drop,
        num_calibration_samples=found.num_samples,
        int8_cpu=for_cpu.chosen,
        int8_trt=for_trt.chosen,
        candidates=(*for_cpu.candidates, *for_trt.candidates),
        sensitivity=(*for_cpu.sensitivity, *for_trt.sensitivity),
        passed=for_cpu.chosen.passed and for_trt.chosen.passed,
    )
    return Int8Result(int8_cpu=for_cpu.file, int8_trt=for_trt.file, report=report)


def mark(candidates: Sequence[Int8Candidate]) -> list[Int8Candidate]:
    """Return the candidates of one target with `on_pareto` and `chosen` set.

    Chosen among those that pass: the fastest for the CPU (differences below 2 % are noise), the fewest float layers
    for TensorRT, then the best score, then the first. Where none passes: the best score.
    """
    best = min(candidates, key=lambda candidate: _rank(candidate, candidates))
    return [
        candidate.model_copy(
            update={
                "chosen": candidate is best,
                "on_pareto": not any(_beats(other, candidate) for other in candidates),
            }
        )
        for candidate in candidates
    ]


class _Search:
    """The search for one target's file. After `run`: `file`, `candidates`, `chosen`, `sensitivity`."""

    def __init__(
        self,
        target: Int8Target,
        calibration: Calibration,
        reference: Runner,
        reference_score: float,
        judge: Judge,
        parameters: QuantizeParameters,
    ) -> None:
        self.file = b""
        self.candidates: list[Int8Candidate] = []
        self.sensitivity: list[LayerSensitivity] = []
        self._target = target
        self._calibration = calibration
        self._reference = reference
        self._reference_score = reference_score
        self._judge = judge
        self._parameters = parameters
        self._made: Int8Recipe | None = None
        self._latency: dict[tuple[object, ...], float] = {}

    @property
    def chosen(self) -> Int8Candidate:
        return next(candidate for candidate in self.candidates if candidate.chosen)

    def run(self) -> None:
        self._try_whole_network()
        best = max(self.candidates, key=lambda candidate: candidate.score)
        if not best.passed or self._parameters.sensitivity == "always":
            self.sensitivity = measure_sensitivity(self._calibration, best.recipe)
        if not best.passed:
            self._keep_float(best.recipe, [row.layer for row in self.sensitivity])
        if self._made != self.chosen.recipe:  # a later candidate moved the choice to an earlier one
            self.file = quantize(self._calibration, self.chosen.recipe)
        self.sensitivity = [
            row.model_copy(update={"kept_float": row.layer in self.chosen.recipe.float_layers})
            for row in self.sensitivity
        ]

    def _try_whole_network(self) -> None:
        """Try every method with the fastest weight type, and with a slower one where no faster one keeps the gate.

        Where one does, a slower type is tried once, with the best method so far, for the table.
        """
        methods = self._parameters.methods
        for weight_type in weight_types_for(self._target, self._parameters.weight_type):
            for operators in self._operators():
                for method in methods:
                    self._try(
                        Int8Recipe(target=self._target, method=method, weight_type=weight_type, operators=operators)
                    )
            if self.chosen.passed:
                methods = (self.chosen.recipe.method,)

    def _operators(self) -> tuple[QuantizedOperators, ...]:
        """Return `all` for convolutional networks, and both where LayerNormalization has no INT8 kernel to join them.

        Measured on two cores of a busy AVX2 CPU, EfficientNet-B3 at 300: `matrix` took 1.2 to 1.3 x as long as `all`;
        leaving Sigmoid, SiLU or the depthwise layers in float gained nothing either.
        """
        if self._target == "int8_trt":
            return ("matrix",)
        is_transformer = any(node.op_type == "LayerNormalization" for node in self._calibration.model.graph.node)
        return ("all", "matrix") if is_transformer else ("all",)

    def _keep_float(self, base: Int8Recipe, layers: Sequence[str]) -> None:
        """Leave the first of `layers` in float: twice as many until the gate is kept, then as few as keep it."""
        low, high, limit = 0, 1, len(layers) // 2
        while high <= limit and not self._try_float(base, layers[:high]):
            low, high = high, 2 * high
        if high > limit:
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._try_float(base, layers[:middle]) else (middle, high)

    def _try_float(self, base: Int8Recipe, layers: Sequence[str]) -> bool:
        return self._try(base.model_copy(update={"float_layers": tuple(layers)})).passed

    def _try(self, recipe: Int8Recipe) -> Int8Candidate:
        file = quantize(self._calibration, recipe)
        score = self._score(file)
        drop = self._reference_score - score
        candidate = Int8Candidate(
            recipe=recipe,
            score=score,
            drop=drop,
            latency_ratio=self._ratio(recipe, file),
            size_bytes=len(file),
            passed=drop <= self._parameters.max_drop + _ROUNDING,
        )
        self.candidates = mark([*self.candidates, candidate])
        if self.candidates[-1].chosen:
            self.file, self._made = file, recipe
        return candidate

    def _score(self, file: bytes) -> float:
        if self._target == "int8_trt":
            file = simulate(load_onnx(file)).SerializeToString()
        with OnnxRuntimeRunner(file, name=self._target) as runner:
            return self._judge(runner)

    def _ratio(self, recipe: Int8Recipe, file: bytes) -> float | None:
        if self._target == "int8_trt":
            return None
        key = (recipe.weight_type, recipe.operators, recipe.float_layers)
        if key not in self._latency:
            with OnnxRuntimeRunner(file, name=self._target) as runner:
                self._latency[key] = latency_ratio(runner, self._reference, self._calibration.samples[0])
        return self._latency[key]


def _rank(candidate: Int8Candidate, others: Sequence[Int8Candidate]) -> tuple[float, ...]:
    if not candidate.passed:
        return (1.0, 0.0, -candidate.score)
    passing = [_cost(other) for other in others if other.passed]
    cost = _cost(candidate)
    is_fastest = candidate.latency_ratio is not None and cost <= min(passing) * (1 + _SAME_SPEED)
    return (0.0, min(passing) if is_fastest else cost, -candidate.score)


def _cost(candidate: Int8Candidate) -> float:
    return len(candidate.recipe.float_layers) if candidate.latency_ratio is None else candidate.latency_ratio


def _beats(other: Int8Candidate, candidate: Int8Candidate) -> bool:
    gains = (other.score - candidate.score, _cost(candidate) - _cost(other))
    return min(gains) >= 0 and max(gains) > 0


def latency_ratio(candidate: Runner, reference: Runner, feeds: Feeds, *, seconds: float = 0.7) -> float:
    """Return the median of the candidate's time by the reference's; the two run in turn, so a slow moment slows both.

    Args:
        candidate: open.
        reference: open.
        feeds: one sample.
        seconds: to spend at least, and five rounds.
    """
    ratios: list[float] = []
    _time_ms(candidate, feeds), _time_ms(reference, feeds)
    end = time.perf_counter() + seconds
    while len(ratios) < _MIN_ROUNDS or time.perf_counter() < end:
        ratios.append(_time_ms(candidate, feeds) / _time_ms(reference, feeds))
    return statistics.median(ratios)


def _time_ms(runner: Runner, feeds: Feeds) -> float:
    start = time.perf_counter()
    runner.run(feeds)
    return 1000 * (time.perf_counter() - start)
