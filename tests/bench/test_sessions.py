"""Where memory runs out while variants are compared; how those on a GPU are opened; what answers take."""

import gc
import tracemalloc
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plans import make_plan

from eightgig.bench import sessions as sessions_module
from eightgig.bench import variants as variants_module
from eightgig.bench.classification import ClassificationEvaluator
from eightgig.bench.kept_predictions import KeptAnswers
from eightgig.bench.parameters import GateParameters, LatencyParameters
from eightgig.bench.variants import Variant, benchmark_variants
from eightgig.core.errors import BudgetError, ExportError
from eightgig.tasks.segmentation.metrics import SegmentationEvaluator
from eightgig.tasks.text.generation.metrics import LanguageEvaluator

QUICK = LatencyParameters(batch_sizes=(1, 4), warmup=1, rounds=3, calls_per_turn=1, seconds=5)
TASK = ClassificationEvaluator(["a", "b"])
LOGITS_N2 = np.array([[2.0, 0], [2, 0], [0, 2], [0, 2]], dtype=np.float32)
LABELS_N = np.array([0, 0, 1, 1])
SHORTAGES = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has 8 GiB in all."),
    "the driver": RuntimeError("CUDA error: out of memory"),
    "the host": MemoryError("Unable to allocate 13.0 GiB for an array"),
    "ONNX Runtime": ExportError(
        "ONNX Runtime cannot run it (Failed to allocate memory for requested buffer of size 9)"
    ),
}


@pytest.fixture(autouse=True, scope="module")
def collected_once():
    """Spare the collector the objects of torch and its kin: it runs at each opening, and a round takes seconds."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Fake:
    """Gives the logits that it is fed; runs out of memory in call number `fails_in`."""

    computes_in = precision = "fp32"

    def __init__(self, name="fake", device="cpu", *, fails_in=None, error=None, scale=1.0, events=None, load=None):
        self.name, self.device = name, device
        self._calls, self._fails_in, self._error, self._scale = 0, fails_in, error, scale
        self._events, self._load = events if events is not None else [], load or (lambda: None)

    def __enter__(self):
        self._events.append(f"open {self.name}")
        return self

    def __exit__(self, *_):
        self._events.append(f"close {self.name}")

    def run(self, feeds):
        self._calls += 1
        if self._calls == self._fails_in:
            raise self._error
        self._load()
        return {"logits": self._scale * feeds["logits"]}

    def describe(self):
        return {}

    def variant(self):
        return Variant(self.name, "fake", "fp32", self.device, lambda: self)


def compared(*runners, evaluator=TASK, batches=lambda: [({"logits": LOGITS_N2}, LABELS_N)] * 3, **options):
    variants = [runner.variant() for runner in runners]
    rows, _ = benchmark_variants(variants, batches, evaluator, latency=QUICK, gates=GateParameters(), **options)
    return {row.variant: row for row in rows}


# Opening calls once, each of three batches once; what comes after is timed.
@pytest.mark.parametrize(
    ("call", "when"), [(1, "while it was opened"), (3, "while it answered"), (7, "while it was timed")]
)
@pytest.mark.parametrize("kind", SHORTAGES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_shortage_is_the_rows_status_and_never_the_end(device, kind, call, when):
    events = []
    short = Fake("short", device, fails_in=call, error=SHORTAGES[kind], events=events)
    rows = compared(Fake("torch"), short, Fake("other"), memory=make_plan())
    assert rows["short"].status.startswith(f"out of memory {when} (")
    assert "Take a smaller benchmark.batch_size" in rows["short"].status
    assert "larger plan.budget_gib" in rows["short"].status
    assert rows["short"].latency_p50_ms is rows["short"].score is None
    assert {rows[name].status for name in ("torch", "other")} == {"ok"}
    assert {rows[name].score for name in ("torch", "other")} == {1.0}
    assert events == ["open short", "close short"]


@pytest.mark.parametrize("call", [1, 3, 7])
def test_a_reference_that_is_short_of_memory_ends_it(call):
    with pytest.raises(torch.OutOfMemoryError):
        compared(Fake("torch", fails_in=call, error=SHORTAGES["torch"]), Fake("other"))


def test_another_error_is_none_of_the_tables():
    with pytest.raises(ValueError, match="a mistake"):
        compared(Fake("torch"), Fake("wrong", fails_in=3, error=ValueError("a mistake")))


@pytest.fixture
def with_gpu(monkeypatch):
    """A card of which nothing is used; gives the events of its allocator and budget."""
    events = []

    @contextmanager
    def budget(plan):
        events.append(f"budget {plan.budget_gib:g}")
        yield
        events.append("end of budget")

    monkeypatch.setattr(variants_module, "resolve_device", lambda _: "cuda")
    monkeypatch.setattr(variants_module, "carrying_out", budget)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("empty"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**33, 2**33))
    return events


def test_those_on_a_gpu_are_open_one_at_a_time_within_the_budget(with_gpu):
    runners = [Fake(name, "cuda", events=with_gpu) for name in ("first", "second")]
    rows = compared(Fake("torch"), *runners, Fake("onnx"), memory=make_plan(budget_gib=8))
    assert [*rows] == ["torch", "first", "second", "onnx"]
    assert {row.status for row in rows.values()} == {"ok"}
    with_gpu = with_gpu[with_gpu.index("budget 8") :]
    course = [event for number, event in enumerate(with_gpu) if event != "empty" or with_gpu[number - 1] != "empty"]
    one = ["budget 8", "empty", "open {0}", "close {0}", "end of budget"]
    assert course == [*(event.format(name) for name in ("first", "second") for event in one), "empty"]


def test_a_budget_below_the_context_is_the_rows_status(with_gpu, monkeypatch):
    @contextmanager
    def budget(plan):
        raise BudgetError("plan.budget_gib gives 0.1 GiB, but the CUDA context alone takes 0.4 GiB")
        yield

    monkeypatch.setattr(variants_module, "carrying_out", budget)
    rows = compared(Fake("torch"), Fake("engine", "cuda"), memory=make_plan())
    assert rows["engine"].status.startswith("plan.budget_gib gives 0.1 GiB")
    assert rows["torch"].status == "ok"


def test_a_speed_up_is_of_two_figures_from_the_same_turns(with_gpu, monkeypatch):
    """A program that begins when the card's turn comes slows the reference down, and so both halves of the ratio."""
    clock = [0.0]
    busy = []
    monkeypatch.setattr("eightgig.bench.latency.time.perf_counter", lambda: clock[0])

    class OnCard(Fake):
        def __enter__(self):
            busy.append(True)
            return super().__enter__()

    def load(seconds):
        def wait():
            clock[0] += seconds * (10 if busy else 1)

        return wait

    rows = compared(Fake("torch", load=load(1e-3)), OnCard("card", "cuda", load=load(1e-4)), memory=make_plan())
    assert rows["torch"].latency_p50_ms == pytest.approx(1)
    assert rows["card"].latency_p50_ms == pytest.approx(1)
    assert rows["card"].speedup_vs_torch == pytest.approx(10)


@pytest.mark.parametrize(("room", "asked"), [(10**6, 3), (100, 4), (0, 6)])
def test_answers_are_kept_as_far_as_there_is_room(room, asked):
    reference = Fake("torch")
    kept = KeptAnswers(reference, TASK, room_bytes=room)  # a batch's answers are 64 bytes
    passes = [[kept.predictions(number, {"logits": LOGITS_N2 * number}) for number in range(3)] for _ in range(2)]
    assert reference._calls == {3: 3, 4: 5, 6: 6}[asked]
    for first, second in zip(*passes, strict=True):
        np.testing.assert_array_equal(first, second)


def language_batches(count):
    def batches():
        for seed in range(count):
            random = np.random.default_rng(seed)
            logits = random.normal(0, 3, (2, 64, 2000)).astype(np.float32)
            yield {"logits": logits}, list(random.integers(0, 2000, (2, 64)))

    return batches


def pixel_batches(count):
    def batches():
        for seed in range(count):
            random = np.random.default_rng(seed)
            logits = random.normal(0, 3, (2, 3, 256, 256)).astype(np.float32)
            yield {"logits": logits}, list(random.integers(0, 3, (2, 256, 256)).astype(np.uint8))

    return batches


@pytest.mark.parametrize(
    ("evaluator", "batches", "answer_bytes"),
    [
        (LanguageEvaluator(), language_batches, 2 * 64 * 2000 * 4),
        (SegmentationEvaluator("abc"), pixel_batches, 2 * 256**2 * 9),
    ],
)
def test_memory_does_not_grow_with_the_number_of_batches(evaluator, batches, answer_bytes, with_gpu, monkeypatch):
    monkeypatch.setattr(variants_module, "_KEPT_ANSWERS_BYTES", 2 * answer_bytes)
    # The card is none, so that the machine's own meter is read; nothing here is on it.
    monkeypatch.setattr(sessions_module, "growth_while", lambda action, **_: (action(), 0))

    def peak(count):
        runners = [Fake("torch"), *(Fake(f"cpu {scale}", scale=scale) for scale in (1.1, 1.2)), Fake("card", "cuda")]
        tracemalloc.start()
        compared(*runners, evaluator=evaluator, batches=batches(count))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(3)
    assert peak(18) - peak(3) < 1.5 * answer_bytes


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(1, 6), max_size=4).map(sorted))
def test_in_whatever_batches_answers_come_they_are_judged_and_compared_alike(seed, cuts):
    random = np.random.default_rng(seed)
    shapes = {LanguageEvaluator: (7, 5, 11), SegmentationEvaluator: (7, 3, 4, 5), ClassificationEvaluator: (7, 3)}
    truths_of: dict[type, Any] = {
        LanguageEvaluator: random.integers(0, 11, (7, 5)),
        SegmentationEvaluator: random.integers(0, 3, (7, 4, 5)).astype(np.uint8),
        ClassificationEvaluator: random.integers(0, 3, 7),
    }
    evaluators: list[Any] = [
        LanguageEvaluator(),
        SegmentationEvaluator("abc"),
        ClassificationEvaluator(["a", "b", "c"]),
    ]
    for evaluator in evaluators:
        logits = random.normal(0, 1, shapes[type(evaluator)]).astype(np.float32)
        noisy = logits + random.normal(0, 0.3, logits.shape).astype(np.float32)
        right, other = (evaluator.predictions({"logits": each}) for each in (logits, noisy))
        targets, judge, comparer = truths_of[type(evaluator)], evaluator.judge(), evaluator.comparer()
        for begin, end in zip([0, *cuts], [*cuts, 7], strict=True):
            judge.add(other[begin:end], targets[begin:end])
            comparer.add(right[begin:end], other[begin:end])
        assert judge.quality() == pytest.approx(evaluator.quality(other, list(targets)))
        assert comparer.comparison() == evaluator.compare(right, other)


@pytest.mark.gpu
def test_a_network_that_is_too_large_for_the_budget_is_a_row_and_leaves_the_card_free():
    from eightgig.export.torch_runner import TorchRunner

    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, logits):
            return logits + torch.zeros(3 * 2**30, dtype=torch.uint8, device=logits.device)[:1] + self.weight

    def on(device, module):
        def opened():
            return TorchRunner(module, device, input_names=("logits",))

        return Variant(f"{type(module).__name__}_{device}", "torch", "fp32", device, opened)

    plan = make_plan(device="cuda", budget_gib=2.0)
    rows, _ = benchmark_variants(
        [on("cpu", Plain()), on("cuda", Large()), on("cuda", Plain())],
        lambda: [({"logits": LOGITS_N2}, list(LABELS_N))],
        TASK,
        latency=QUICK,
        gates=GateParameters(),
        memory=plan,
    )
    assert [row.status == "ok" for row in rows] == [True, False, True]
    assert rows[1].status.startswith("out of memory while it was opened")
    assert torch.cuda.memory_allocated() < 2**20


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, logits):
        return logits + self.weight
