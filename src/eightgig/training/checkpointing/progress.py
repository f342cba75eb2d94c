"""How far a training run is: what a checkpoint keeps beside the network, its optimizer and what belongs to them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from eightgig.training.checkpointing.history import EpochRow, EpochSums, TrainingResult
from eightgig.vram.plan import Finding
from eightgig.vram.runtime.diagnosis import Recovered
from eightgig.vram.runtime.measure import CacheClearings, MeasuredPhase

STATE_FORMAT = 3
"""What a checkpoint's state is made of: one of another format is another run's, and is archived."""


@dataclass
class BestEpoch:
    """The epoch with the best validation score so far; before the first one, the weights that training begins with."""

    weights: dict[str, Tensor]
    epoch: int = 0
    score: float = float("-inf")


@dataclass
class TrainingProgress:
    """Where a run is, and what it has found so far.

    Attributes:
        epoch: that is being trained, from 1.
        samples: of it that are behind, in all processes together.
        learning_rate: of its first step.
        seconds: that were spent on it.
        sums: over its steps so far.
        bad_steps: those up to now that were not finite and were skipped, with their samples; a good one clears it.
    """

    best: BestEpoch
    epoch: int = 1
    samples: int = 0
    learning_rate: float = 0.0
    seconds: float = 0.0
    sums: EpochSums = field(default_factory=EpochSums)
    bad_steps: list[dict[str, Any]] = field(default_factory=list)
    history: list[EpochRow] = field(default_factory=list)

    def end_epoch(self, row: EpochRow) -> None:
        """Note an epoch, and begin the next."""
        self.history.append(row)
        self.epoch, self.samples, self.seconds, self.sums = self.epoch + 1, 0, 0.0, EpochSums()

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        return {
            "best": vars(self.best),
            "epoch": self.epoch,
            "samples": self.samples,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "sums": asdict(self.sums),
            "bad_steps": self.bad_steps,
            "history": [row.model_dump() for row in self.history],
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "TrainingProgress":
        """Make one from what `state_dict` gave."""
        history = [EpochRow(**row) for row in state["history"]]
        made = {"best": BestEpoch(**state["best"]), "sums": EpochSums(**state["sums"]), "history": history}
        return cls(**{**state, **made})


def result_state(result: TrainingResult) -> dict[str, Any]:
    """Return a finished run as plain values and tensors."""
    return {
        "best": {"weights": result.best_state, "epoch": result.best_epoch, "score": result.best_score},
        "history": [row.model_dump() for row in result.history],
        "measured": [phase.model_dump() for phase in result.measured],
        "recovered": [recovered.model_dump() for recovered in result.recovered],
        "final": result.final,
        "findings": [finding.model_dump() for finding in result.findings],
        "cache_clearings": result.cache_clearings.model_dump(),
    }


def result_of(state: dict[str, Any]) -> TrainingResult:
    """Make the result of a finished run from what `result_state` gave."""
    return TrainingResult(
        state["best"]["weights"],
        state["best"]["epoch"],
        state["best"]["score"],
        tuple(EpochRow(**row) for row in state["history"]),
        measured=tuple(MeasuredPhase(**phase) for phase in state["measured"]),
        recovered=tuple(Recovered(**recovered) for recovered in state["recovered"]),
        final=state["final"],
        findings=tuple(Finding(**finding) for finding in state["findings"]),
        cache_clearings=CacheClearings(**state["cache_clearings"]),
    )
