"""The loss scale of fp16 training: chosen by torch's scaler as it goes, or given by hand, and known without asking it.

Gradients below 6e-8 are zero in fp16. So the loss is multiplied by a scale, and gradients divided by it before the
optimizer sees them; a step whose gradients overflow is skipped. `dynamic` halves the scale at each such step, and
doubles it after `train.loss_scale_growth_interval` good ones in a row.

Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2; the rule is torch.amp.GradScaler's.
"""

from torch import Tensor
from torch.amp import GradScaler

from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Finding

_WORRYING_FALLS = 10  # of torch's 65,536 they leave 64: a gradient above 1,000, which no sound recipe has for long


class ConstantScaler(GradScaler):
    """A scaler that keeps one scale, whatever happens; steps that overflow are still skipped."""

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End a step; the scale stays."""
        super().update(self._init_scale if new_scale is None else new_scale)


def gradient_scaler(parameters: TrainParameters, device_type: str) -> GradScaler:
    """Return the scaler that a recipe asks for."""
    if parameters.loss_scale == "dynamic":
        interval = parameters.loss_scale_growth_interval
        return GradScaler(device_type, init_scale=parameters.loss_scale_init, growth_interval=interval)
    return ConstantScaler(device_type, init_scale=float(parameters.loss_scale))


class LossScale:
    """What the scale is, followed on the host by torch's own rule: to ask the card at each step is to wait for it.

    Attributes:
        value: for the next step.
        falls: since it last rose.
    """

    def __init__(self, scaler: GradScaler) -> None:
        self._scaler = scaler
        self._is_constant = isinstance(scaler, ConstantScaler)
        self._good_steps = self.falls = 0
        self.value = 0.0
        self.read()

    def read(self) -> None:
        """Take over the scaler's state, after it was made or restored; this waits for the card."""
        state = self._scaler.state_dict()
        self.value, self._good_steps = float(state["scale"]), int(state["_growth_tracker"])

    def after_step(self, *, stepped: bool) -> Finding | None:
        """Follow a step; give a finding when the scale has fallen again and again.

        After a step that was skipped, which is rare, the card is asked: the norm may have been too large where no
        gradient was.
        """
        if self._is_constant:
            return None
        if not stepped:
            before = self.value
            self.read()
            self.falls += self.value < before
            return self._finding() if self.value < before and self.falls == _WORRYING_FALLS else None
        self._good_steps += 1
        if self._good_steps == self._scaler.get_growth_interval():
            self.value *= self._scaler.get_growth_factor()
            self._good_steps = self.falls = 0
        return None

    def _finding(self) -> Finding:
        return Finding(
            code="VRAM103",
            message=f"the loss scale of fp16 keeps falling: {self.falls} times without rising, to {self.value:g}. "
            "Gradients overflow: set plan.precision to bf16 (from Ampere on) or fp32, or lower train.learning_rate",
        )
