import time
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from eightgig.bench import variants as variants_module
from eightgig.bench.classification import ClassificationEvaluator
from eightgig.bench.latency import Call, measure_latency
from eightgig.bench.parameters import GateParameters, LatencyParameters
from eightgig.bench.variants import LabelledBatch, Variant, benchmark_variants
from eightgig.core.errors import ConfigurationError, DataError, ExportError
from eightgig.export.runners import Arrays, Feeds, Runner

QUICK = LatencyParameters(batch_sizes=(1, 4), warmup=1, rounds=4, calls_per_turn=2, seconds=5)
TASK = ClassificationEvaluator(["a", "b"])
# The stand-in for a network: its logits are the means of the first two channels.
IMAGES_N3HW = np.zeros((4, 3, 2, 2), dtype=np.float32)
IMAGES_N3HW[[0, 1], 0] = IMAGES_N3HW[[2, 3], 1] = 1
LABELS_N = np.array([0, 0, 1, 1])
FEEDS = {"images": IMAGES_N3HW}
GATES = GateParameters()


class FakeRunner:
    device = "cpu"

    def __init__(self, name: str = "fake", precision: str = "fp32", delay_s: float = 0.0, wrong: bool = False) -> None:
        self.name, self.precision, self.computes_in = name, precision, precision
        self.delay_s, self.wrong = delay_s, wrong
        self.batch_sizes: list[int] = []
        self.is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_closed = True

    def describe(self) -> dict[str, Any]:
        return {}

    def run(self, feeds: Feeds) -> Arrays:
        self.batch_sizes.append(len(feeds["images"]))
        time.sleep(self.delay_s)
        logits_NK = 2 * feeds["images"][:, :2].mean(axis=(2, 3))
        return {"logits": logits_NK[:, ::-1] if self.wrong else logits_NK}


def one_batch() -> list[LabelledBatch]:
    return [(FEEDS, list(LABELS_N))]


def variant(runner: FakeRunner, size_bytes: int | None = None) -> Variant:
    return Variant(runner.name, "fake", runner.precision, "cpu", lambda: runner, size_bytes)


def not_installed() -> FakeRunner:
    raise ExportError("TensorRT is not installed: pip install eightgig[tensorrt]")


def test_runners_take_turns_and_slow_ones_are_found() -> None:
    order: list[str] = []

    class Noted(FakeRunner):
        def run(self, feeds: Feeds) -> Arrays:
            order.append(self.name)
            return super().run(feeds)

    runners = {"slow": Noted("slow", delay_s=0.004), "fast": Noted("fast")}
    reports = measure_latency(runners, FEEDS, parameters=QUICK)
    one_turn = ["slow"] * 3 + ["fast"] * 3  # one untimed call and two timed ones
    assert order[: 2 + 4 * 6] == ["slow", "fast"] + one_turn * 4
    slow = reports["slow"][1]
    assert (slow.batch_size, slow.num_runs) == (1, 8)
    assert 4 <= slow.min_ms <= slow.p50_ms <= slow.p95_ms
    assert reports["fast"][1].p50_ms < slow.p50_ms
    assert reports["slow"][4].throughput_samples_per_second == pytest.approx(4e3 / reports["slow"][4].p50_ms)


def test_a_larger_batch_repeats_the_images() -> None:
    runner = FakeRunner()
    parameters = LatencyParameters(batch_sizes=(6,), warmup=0, rounds=1, calls_per_turn=1)
    measure_latency({"fake": runner}, FEEDS, parameters=parameters)
    assert runner.batch_sizes == [6, 6]


def test_time_is_kept_but_for_three_rounds() -> None:
    runner = FakeRunner(delay_s=0.002)
    parameters = LatencyParameters(batch_sizes=(1,), warmup=0, rounds=500, calls_per_turn=1, seconds=1e-6)
    assert measure_latency({"fake": runner}, FEEDS, parameters=parameters)["fake"][1].num_runs == 3


def test_latency_wants_an_image() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 image"):
        measure_latency({}, {"images": IMAGES_N3HW[:0]}, parameters=QUICK)


def test_a_row_a_variant_with_figures_or_the_reason_why_not() -> None:
    torch, onnx = FakeRunner("torch", delay_s=0.004), FakeRunner("onnx")
    engine = Variant("engine", "TensorRT", "fp16", "cuda:0", not_installed, size_bytes=None)
    batches = [({"images": IMAGES_N3HW[part]}, list(LABELS_N[part])) for part in (slice(2), slice(2, 4))]
    rows, _ = benchmark_variants(
        [variant(torch), variant(onnx, 2**20), engine], lambda: batches, TASK, latency=QUICK, gates=GATES
    )
    assert [row.variant for row in rows] == ["torch", "onnx", "engine"]
    assert (rows[0].speedup_vs_torch, rows[0].parity_max_abs_diff, rows[0].size_mib) == (1.0, 0.0, None)
    assert (rows[1].status, rows[1].score, rows[1].quality["macro_f1"], rows[1].size_mib) == ("ok", 1.0, 1.0, 1.0)
    assert rows[1].speedup_vs_torch is not None
    assert rows[1].speedup_vs_torch > 2
    assert rows[2].status == "TensorRT is not installed: pip install eightgig[tensorrt]"
    declared = {"variant", "runtime", "precision", "device", "status", "gate", "note", "computes_in", "recommended"} | {
        "score_name",
        "quality",
    }
    assert all(value is None for name, value in rows[2].model_dump().items() if name not in declared)
    assert (rows[2].recommended, rows[1].recommended) == (False, True)
    assert torch.is_closed
    assert onnx.is_closed


def test_parity_is_the_largest_difference_of_any_probability() -> None:
    rows, _ = benchmark_variants(
        [variant(FakeRunner("torch")), variant(FakeRunner("turned", wrong=True))],
        one_batch,
        TASK,
        latency=QUICK,
        gates=GATES,
    )
    sigmoid = 1 / (1 + np.exp(-2))
    assert rows[1].parity_max_abs_diff == pytest.approx(2 * sigmoid - 1)
    assert rows[1].score == 0


@pytest.mark.parametrize(("exact", "reason"), [(False, "no VNNI or AMX"), (True, "gain nothing from INT8")])
def test_int8_that_is_not_worth_it_says_why(monkeypatch: pytest.MonkeyPatch, exact: bool, reason: str) -> None:
    monkeypatch.setattr(variants_module, "has_exact_int8", lambda: exact)
    poor = FakeRunner("int8", precision="int8", delay_s=0.012, wrong=True)
    rows, _ = benchmark_variants(
        [variant(FakeRunner("torch", delay_s=0.004)), variant(poor)],
        one_batch,
        TASK,
        latency=QUICK,
        gates=GATES,
    )
    assert reason in rows[1].note
    assert "x torch" in rows[1].note
    assert rows[1].gate == "accuracy: -100.0 points, allowed -0.5 points"
    assert (rows[0].passed, rows[1].passed) == (True, False)


def test_int8_that_is_worth_it_has_no_note() -> None:
    rows, _ = benchmark_variants(
        [variant(FakeRunner("torch", delay_s=0.004)), variant(FakeRunner("int8", precision="int8"))],
        one_batch,
        TASK,
        latency=QUICK,
        gates=GATES,
    )
    assert rows[1].note == ""


def test_a_reference_that_cannot_run_and_an_empty_split_are_refused() -> None:
    with pytest.raises(ExportError, match="TensorRT is not installed"):
        benchmark_variants([Variant("engine", "", "", "", not_installed)], one_batch, TASK, latency=QUICK, gates=GATES)
    with pytest.raises(DataError, match="at least 1 batch of labelled images"):
        benchmark_variants([variant(FakeRunner())], list, TASK, latency=QUICK, gates=GATES)
    with pytest.raises(ConfigurationError, match="at least 1 variant"):
        benchmark_variants([], list, TASK, latency=QUICK, gates=GATES)


def test_every_batch_size_has_a_row_and_the_whole_call_its_time() -> None:
    calls: list[str] = []

    def whole(runner: Runner) -> Call:
        return lambda: calls.append(runner.name)

    fakes = [variant(FakeRunner("torch")), variant(FakeRunner("onnx"))]
    rows, speed = benchmark_variants(fakes, one_batch, TASK, latency=QUICK, gates=GATES, whole_call=whole)
    assert [(row.variant, row.batch_size) for row in speed] == [("torch", 1), ("torch", 4), ("onnx", 1), ("onnx", 4)]
    assert all(row.p50_ms <= row.p95_ms <= row.p99_ms for row in speed)
    assert set(calls) == {"torch", "onnx"}
    assert all(row.end_to_end_ms is not None and row.memory_mib is not None for row in rows)


def test_what_ran_in_another_precision_says_so() -> None:
    half = FakeRunner("onnx_fp16", precision="fp16")
    half.computes_in = "fp32"
    rows, _ = benchmark_variants(
        [variant(FakeRunner("torch")), variant(half)], one_batch, TASK, latency=QUICK, gates=GATES
    )
    assert rows[1].note == "fake has no fp16 kernels here: it computed in fp32"
