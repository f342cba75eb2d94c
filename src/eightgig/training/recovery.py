"""Out of memory in a step: undo what the failed attempt changed, and do the same samples in smaller pieces."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from eightgig.core.errors import RankOutOfMemoryError, TrainingError
from eightgig.core.tracker import Tracker
from eightgig.training.batch_splitter import BatchSplitter
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.budget import release_memory
from eightgig.vram.runtime.buffers import BufferCopies
from eightgig.vram.runtime.diagnosis import Recovered
from eightgig.vram.runtime.flight_report import Incident
from eightgig.vram.runtime.recorder import FlightRecorder

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Phase = Literal["train", "validate"]


class StepSnapshot:
    """What a forward pass changes besides gradients: buffers (BatchNorm's statistics) and torch's random numbers.

    Args:
        module: whose forward passes they are.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = BufferCopies(module)
        self._cpu_random = torch.get_rng_state()
        self._cuda_random: torch.Tensor | None = None

    def take(self) -> None:
        """Copy the state that the next forward passes will change, in place of what was copied before."""
        self._buffers.take()
        self._cuda_random = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        self._cpu_random = torch.get_rng_state()

    def restore(self) -> None:
        """Put the state back."""
        self._buffers.restore()
        torch.set_rng_state(self._cpu_random)
        if self._cuda_random is not None:
            torch.cuda.set_rng_state(self._cuda_random)


class Recovery:
    """Runs the parts of training that may run out of memory, and runs them again in smaller pieces when they do.

    Smaller pieces stay for the rest of the run. The number of samples an optimizer step does not change.

    Args:
        plan: batch sizes as loaded.
        reset: drops all gradients, and what else a failed attempt leaves behind in the optimizer.
        num_processes: of the run; with several this one cannot recover alone, because the others would wait for it.

    Attributes:
        plan: as it is carried out now.
        snapshot: the state that the last run of a part began with.
        recovered: each time the run went on.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        module: nn.Module,
        *,
        recorder: FlightRecorder,
        tracker: Tracker,
        reset: Callable[[], None],
        num_processes: int = 1,
    ) -> None:
        self.plan, self.recovered = plan, list[Recovered]()
        self._loaded = plan
        self._recorder, self._tracker, self._reset = recorder, tracker, reset
        self._num_processes = num_processes
        self._splitters: dict[Phase, BatchSplitter] = {"train": BatchSplitter(), "validate": BatchSplitter()}
        self.snapshot = StepSnapshot(module)
        self._batch_norm = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())

    def run(self, phase: Phase, work: Callable[[BatchSplitter], Result]) -> Result:
        """Return what `work` gives; when memory runs out in it, all is put back and it is done again from its start.

        Args:
            phase: decides whose pieces get smaller.
            work: takes batches only through the splitter it is given, and changes nothing but gradients, buffers and
                random numbers.

        Raises:
            TrainingError: memory ran out with one sample at a time.
        """
        splitter = self._splitters[phase]
        self.snapshot.take()
        while True:
            try:
                return work(splitter)
            except RuntimeError as error:
                if not self._recorder.is_out_of_memory(error):
                    raise
                incident = self._recorder.out_of_memory(error, phase=phase, batch=splitter.largest)
            # Not in the except block: there the error's traceback still holds every tensor of the failed attempt.
            self._reset()
            release_memory(on_card=torch.cuda.is_initialized())
            self.snapshot.restore()
            self._shrink(phase, incident)

    @contextmanager
    def fatal_oom(self, where: str) -> Iterator[None]:
        """Turn out of memory in the optimizer into a TrainingError: some weights may have been stepped, others not."""
        try:
            yield
        except RuntimeError as error:
            if not self._recorder.is_out_of_memory(error):
                raise
            incident = self._recorder.out_of_memory(error, phase="optimizer")
            raise TrainingError(f"out of memory {where}. {_diagnosis_of(incident)}") from error

    def report(self, finding: Finding) -> None:
        """Put a finding on the plan as it is carried out, and into the log."""
        self.plan = self.plan.model_copy(update={"findings": (*self.plan.findings, finding)})
        logger.warning("%s: %s.", finding.code, finding.message)

    def limit(self, phase: Phase, size: int) -> None:
        """Let at most `size` samples through at a time from now on."""
        self._splitters[phase].limit = size
        changed = {"eval_batch": size}
        if phase == "train":
            pieces_a_batch = -(-self._loaded.micro_batch // size)
            changed = {
                "micro_batch": size,
                "gradient_accumulation_steps": self._loaded.gradient_accumulation_steps * pieces_a_batch,
                "optimizer_in_backward": False,  # gradients are added up now, so that they have to stay
            }
        self.plan = self.plan.model_copy(update=changed)

    def state_dict(self) -> dict[str, Any]:
        """Return what became of the plan, as plain values."""
        return {
            "limits": {phase: splitter.limit for phase, splitter in self._splitters.items()},
            "recovered": [recovered.model_dump() for recovered in self.recovered],
            "findings": [finding.model_dump() for finding in self.findings],
        }

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found while it ran."""
        return self.plan.findings[len(self._loaded.findings) :]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` gave; a plan with smaller batches than those limits is left as it is."""
        loaded = {"train": self._loaded.micro_batch, "validate": self._loaded.eval_batch}
        for phase, size in state["limits"].items():
            if size is not None and size < loaded[phase]:
                self.limit(phase, size)
        self.recovered = [Recovered(**recovered) for recovered in state["recovered"]]
        findings = tuple(Finding(**finding) for finding in state["findings"])
        self.plan = self.plan.model_copy(update={"findings": (*self.plan.findings, *findings)})

    def _shrink(self, phase: Phase, incident: Incident) -> None:
        shortage = incident.shortage
        if shortage.batch <= 1:
            raise TrainingError(self._fatal_message(phase, incident))
        size = half_below(self.plan.micro_batch if phase == "train" else shortage.batch, shortage.batch)
        recovered = Recovered(
            phase=phase, step=shortage.step, failed_batch=shortage.batch, batch=size, diagnosis=incident.diagnosis
        )
        if self._num_processes > 1:
            raise RankOutOfMemoryError(self._fatal_message(phase, incident), recovered)
        self.limit(phase, size)
        self.recovered.append(recovered)
        finding = Finding(
            code="VRAM101" if phase == "train" else "VRAM102", message=self._recovered_message(phase, incident)
        )
        self.plan = self.plan.model_copy(update={"findings": (*self.plan.findings, finding)})
        logger.warning("%s. Why: %s.", finding.message, incident.diagnosis.sentence)
        name = "micro_batch" if phase == "train" else "eval_batch"
        self._tracker.log_metrics({"out_of_memory": float(len(self.recovered)), name: float(size)}, step=shortage.step)

    def _recovered_message(self, phase: Phase, incident: Incident) -> str:
        shortage, size = incident.shortage, self._splitters[phase].limit
        if phase == "validate":
            return (
                f"memory ran out in validation with {shortage.batch} samples at a time: done again with {size}, as all "
                "later validations"
            )
        norm = f"; BatchNorm now sees {size} samples at a time" if self._batch_norm else ""
        return (
            f"memory ran out in optimizer step {shortage.step} at micro-batch {shortage.batch}: the step was done "
            f"again with micro-batch {size} x {self.plan.gradient_accumulation_steps} accumulation, as all later ones, "
            f"at the same effective batch{norm}"
        )

    def _fatal_message(self, phase: Phase, incident: Incident) -> str:
        where = f"in optimizer step {incident.shortage.step}" if phase == "train" else "in validation"
        if self._num_processes > 1:
            why = f"one of {self._num_processes} processes cannot change its batch size alone"
        else:
            why = "there was only one sample in the network, and less is not possible"
        diagnosis = _diagnosis_of(incident)
        return f"out of memory {where}: {why}. Nothing of this attempt was applied to the weights. {diagnosis}"


def half_below(size: int, failed: int) -> int:
    """Halve `size`, rounding up, until it is smaller than what failed (a short window may fail with less than `size`).

    Example: `half_below(8, 6)` is 4, and `half_below(8, 2)` is 1.
    """
    while size >= failed:
        size = -(-size // 2)
    return size


def reset_gradients(accelerator: Accelerator, optimizer: Optimizer) -> None:
    """Drop all gradients, and what a gradient scaler noted of them; its scale and its count of good steps stay."""
    optimizer.zero_grad(set_to_none=True)
    if (scaler := accelerator.scaler) is not None:
        scaler.scale(torch.zeros((), device=accelerator.device))  # makes its tensors, if the attempt did not get so far
        scaler.update(new_scale=scaler.get_scale())  # after this it takes the gradients for not yet unscaled


def _diagnosis_of(incident: Incident) -> str:
    diagnosis = incident.diagnosis
    return f"Diagnosis: {diagnosis.sentence}. The allocator's words: {incident.shortage.error}"
