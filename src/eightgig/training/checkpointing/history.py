"""What a training run tells of itself: a row an epoch, and the best weights."""

from dataclasses import dataclass, field

from torch import Tensor

from eightgig.core.records import Record
from eightgig.vram.plan import Finding
from eightgig.vram.runtime.diagnosis import Recovered
from eightgig.vram.runtime.measure import CacheClearings, MeasuredPhase


class EpochRow(Record):
    """One epoch, a row of the history. Rates and norms are of optimizer steps; `seconds` are of training alone.

    `val_score` is what the objective names by `score_name`; `loss_scale` that of the last step, None where none is
    used (bf16 and fp32).
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_score: float
    learning_rate: float
    gradient_norm: float
    gradient_norm_max: float
    skipped_steps: int
    loss_scale: float | None = None
    seconds: float
    val_seconds: float
    samples_per_second: float

    @property
    def figures(self) -> dict[str, float]:
        """What a tracker is given at this epoch."""
        return self.model_dump(exclude={"epoch"}, exclude_none=True)


@dataclass(frozen=True)
class TrainingResult:
    """The weights of the best epoch, and how all epochs went.

    Attributes:
        measured: memory of the phases.
        recovered: each time memory ran out and training went on.
        final: `micro_batch`, `gradient_accumulation_steps` and `eval_batch` at the end.
        findings: what was found while it ran (VRAM101 and on).
        cache_clearings: what giving back the allocator's cache cost and brought.
    """

    best_state: dict[str, Tensor]
    best_epoch: int
    best_score: float
    history: tuple[EpochRow, ...]
    measured: tuple[MeasuredPhase, ...] = ()
    recovered: tuple[Recovered, ...] = ()
    final: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    cache_clearings: CacheClearings = field(default_factory=CacheClearings)


@dataclass
class EpochSums:
    """What one epoch adds up, in plain numbers: a checkpoint in the middle of it is the same on any device.

    Attributes:
        loss: over the samples of the steps that were done.
        count: of these samples.
        steps: that were done.
        skipped: steps that were not.
        norm: sum of the gradient norms before clipping.
        norm_max: the largest of them.
    """

    loss: float = 0.0
    count: int = 0
    steps: int = 0
    skipped: int = 0
    norm: float = 0.0
    norm_max: float = float("nan")

    def add(self, loss: float, count: int, norm: float) -> None:
        """Count a step in."""
        self.norm_max = max(norm, self.norm_max) if self.steps else norm
        self.loss += loss
        self.count += count
        self.steps += 1
        self.norm += norm

    @property
    def norm_mean(self) -> float:
        """The mean of the gradient norms; not a number before the first step."""
        return self.norm / self.steps if self.steps else float("nan")
