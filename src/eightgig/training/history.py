"""What a training run tells of itself: a row an epoch, and the best weights."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from eightgig.core.records import Record
from eightgig.vram.runtime.measure import MeasuredPhase
from eightgig.vram.runtime.verdict import Recovered


class EpochRow(Record):
    """One epoch, a row of the history. Rates and norms are of optimizer steps; `seconds` are of training alone.

    `val_score` is what the objective names by `score_name`.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_score: float
    learning_rate: float
    gradient_norm: float
    gradient_norm_max: float
    skipped_steps: int
    seconds: float
    val_seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class TrainingResult:
    """The weights of the best epoch, and how all epochs went.

    Attributes:
        measured: memory of the phases.
        recovered: each time memory ran out and training went on.
        final: `micro_batch`, `accumulation` and `eval_batch` at the end.
    """

    best_state: dict[str, Tensor]
    best_epoch: int
    best_score: float
    history: tuple[EpochRow, ...]
    measured: tuple[MeasuredPhase, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    final: dict[str, int] = field(default_factory=dict)


@dataclass
class EpochSums:
    """What one epoch adds up; norms stay on the device until the epoch is over, so that no step waits for them."""

    loss: float = 0.0
    count: int = 0
    skipped: int = 0
    norms: list[Tensor] = field(default_factory=list)

    def add(self, loss: float, count: int, norm: Tensor) -> None:
        """Count a step in."""
        self.loss += loss
        self.count += count
        self.norms.append(norm)

    def norm(self) -> tuple[float, float]:
        """Give the mean and the largest gradient norm before clipping."""
        if not self.norms:
            return float("nan"), float("nan")
        stacked = torch.stack(self.norms)
        return stacked.mean().item(), stacked.max().item()
