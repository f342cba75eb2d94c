"""What a search says of itself while it lasts, so that nobody waits in silence."""

import logging
from time import monotonic

from eightgig.core.units import format_bytes
from eightgig.vram.plan import StepConfig

logger = logging.getLogger(__name__)
_SILENT_SECONDS = 2.0  # a person waits so long without asking what goes on


class Progress:
    """Logs each step that is traced, once the search has lasted a while."""

    def __init__(self) -> None:
        self._start = monotonic()

    def log_candidate(self, step: StepConfig, needed_bytes: int, budget_bytes: int) -> None:
        """Log a way of running and what it needs."""
        if monotonic() - self._start < _SILENT_SECONDS:
            return
        logger.info(
            "plan: micro-batch %d, checkpointing %s%s%s: %s needed of %s",
            step.micro_batch,
            step.activation_checkpointing,
            ", activations offloaded" if step.offload else "",
            ", optimizer in the backward pass" if step.optimizer_in_backward else "",
            format_bytes(needed_bytes),
            format_bytes(budget_bytes),
        )
