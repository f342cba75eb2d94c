"""Variants that are open at the same time: asked, judged and timed; one that cannot go on drops out with its reason."""

import ctypes
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch

from eightgig.bench.kept_predictions import KeptAnswers
from eightgig.bench.latency import Call, LatencyReport, measure_calls, resized
from eightgig.bench.parameters import LatencyParameters
from eightgig.bench.shortage import told_of
from eightgig.export.evaluator import Comparer, Evaluator, Judge, Target
from eightgig.export.runners import Arrays, Runner
from eightgig.vram.runtime.budget import release_memory
from eightgig.vram.runtime.measure import MemoryMeter
from eightgig.vram.runtime.recorder import FlightRecorder

Result = TypeVar("Result")
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


@dataclass
class Measured:
    """What became of one variant.

    Attributes:
        judge, comparer: have seen all of its answers.
        reason: why it dropped out; None where it did all that was asked.
        ran: `precision`, `computes_in` and `device` of what really ran.
        memory_bytes: by which memory grew until it had answered the largest batch.
        speed: by batch size.
        whole: of a call from a stored sample to its answer.
        reference_p50_ms: the reference's time of a call of the first batch size, in the same turns.
    """

    judge: Judge
    comparer: Comparer
    reason: str | None = None
    ran: dict[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    speed: dict[int, LatencyReport] = field(default_factory=dict)
    whole: LatencyReport | None = None
    reference_p50_ms: float = 0.0


class _DroppedOutError(Exception):
    """One of several that take turns cannot go on."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Session:
    """Opens variants, asks and times them together, and closes them; use it in a `with` block.

    Args:
        evaluator: reads, judges and compares what they give.
        reference: the variant whose failure is raised; that of any other is noted.
        recorder: knows the ways in which torch says that memory ran out.

    Attributes:
        measured: what became of each.
        runners: those that are open.
    """

    def __init__(self, evaluator: Evaluator, reference: str, recorder: FlightRecorder | None = None) -> None:
        self.measured: dict[str, Measured] = {}
        self.runners: dict[str, Runner] = {}
        self._evaluator, self._reference, self._recorder = evaluator, reference, recorder
        self._stacks: dict[str, ExitStack] = {}

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        for name in [*self._stacks]:
            self.close(name)

    def open(self, variant: Variant, largest: Arrays, *, on_gpu: bool) -> None:
        """Open a variant and let it answer the largest batch once; note by how much memory grew."""
        stack = self._stacks[variant.name] = ExitStack()
        self.measured[variant.name] = self._nothing_yet()

        def begin() -> Runner:
            runner = stack.enter_context(variant.open())
            runner.run(largest)
            return runner

        opened = self._tried(variant.name, "while it was opened", partial(growth_while, begin, on_gpu=on_gpu))
        if opened is None:
            return
        runner, growth = opened
        ran = {"precision": runner.precision, "computes_in": runner.computes_in, "device": runner.device}
        found = self.measured[variant.name]
        found.ran, found.memory_bytes = ran, growth
        self.runners[variant.name] = runner

    def ask(self, batches: Iterable[LabelledBatch], kept: KeptAnswers) -> None:
        """Let all that are open answer all batches, one after the other, each beside the reference's answers.

        Args:
            batches: the same in every session.
            kept: the reference's answers.
        """
        if not self.runners:
            return
        for number, (feeds, targets) in enumerate(batches):
            wanted = kept.predictions(number, feeds)
            for name in [*self.runners]:
                self._tried(name, "while it answered", partial(self._ask_one, name, feeds, targets, wanted))
            if not self.runners:
                return

    def _ask_one(self, name: str, feeds: Arrays, targets: Sequence[Any], wanted: Sequence[Any]) -> bool:
        is_reference = name == self._reference  # whose answers these are already
        predictions = wanted if is_reference else self._evaluator.predictions(self.runners[name].run(feeds))
        self.measured[name].judge.add(predictions, targets)
        self.measured[name].comparer.add(wanted, predictions)
        return True

    def take_turns(
        self,
        call_of: Callable[[Runner], Call],
        *,
        batch_size: int,
        parameters: LatencyParameters,
        beside: Mapping[str, Runner] | None = None,
    ) -> dict[str, LatencyReport]:
        """Time the calls of all that are open, in turn; where one drops out, the others begin again without it.

        Args:
            call_of: gives what is timed of a runner.
            batch_size: samples a call.
            parameters: how often and how long.
            beside: others that take turns with them.
        """
        while self.runners:
            together = {**(beside or {}), **self.runners}
            calls = {name: self._guarded(name, call_of(runner)) for name, runner in together.items()}
            try:
                return measure_calls(calls, batch_size=batch_size, parameters=parameters)
            except _DroppedOutError:
                continue
        return {}

    def _guarded(self, name: str, call: Call) -> Call:
        def guarded() -> object:
            done = self._tried(name, "while it was timed", lambda: (call(),))
            if done is None:
                raise _DroppedOutError(name)
            return done[0]

        return guarded

    def _tried(self, name: str, when: str, action: Callable[[], Result]) -> Result | None:
        """Return what the action gives; None where the variant dropped out of it."""
        try:
            return action()
        except Exception as error:
            reason = told_of(error, when, self._recorder)
            if reason is None or name == self._reference:
                raise
        # Not in the except block: there the error's traceback still holds what the failed attempt took.
        self.close(name)
        release_memory(on_card=torch.cuda.is_initialized())
        self.measured[name] = self.dropped(reason)
        return None

    def _nothing_yet(self) -> Measured:
        return Measured(self._evaluator.judge(), self._evaluator.comparer())

    def dropped(self, reason: str) -> Measured:
        """Return what is told of a variant that cannot go on."""
        return Measured(self._evaluator.judge(), self._evaluator.comparer(), reason=reason)

    def close(self, name: str) -> None:
        """Close one; opening the next gives back what nobody refers to any more."""
        self.runners.pop(name, None)
        self._stacks.pop(name).close()


def batch_of(feeds: Arrays, batch_size: int) -> Callable[[Runner], Call]:
    """Return what makes the call of a runner with so many samples."""
    batch = resized(feeds, batch_size)
    return lambda runner: partial(runner.run, batch)


def growth_while(action: Callable[[], Result], *, on_gpu: bool) -> tuple[Result, int]:
    """Return what `action` returns, and the bytes by which memory grew while it ran.

    On the CPU the peak of the process's resident memory, less where it began; free memory is given back to the system
    first, so that it is not taken again unseen (glibc alone can do that: elsewhere the figure may be too small). On
    the GPU what the whole card has in use afterwards and had not before, whichever runtime took it.
    """
    release_memory(on_card=torch.cuda.is_initialized())
    if on_gpu:
        before, _ = torch.cuda.mem_get_info()
        result = action()
        return result, max(0, before - torch.cuda.mem_get_info()[0])
    _give_back_free_memory()
    with MemoryMeter("runner", "cpu") as meter:
        result = action()
    return result, meter.result().resident_growth_bytes


def _give_back_free_memory() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
