"""How much a network holds and computes."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eightgig.core.records import Record


class Complexity(Record):
    """What one pass over one input takes, whatever the machine.

    Attributes:
        num_parameters: weights that training changes, and those it does not; buffers are not counted.
        flops: of convolutions and matrix products, a multiplication and an addition being two.
    """

    num_parameters: int
    flops: int


def complexity_of(module: nn.Module, example_input: Tensor) -> Complexity:
    """Return the parameters of `module` and the FLOPs of one pass over `example_input`, in evaluation mode."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(example_input)
    finally:
        module.train(was_training)
    num_parameters = sum(weight.numel() for weight in module.parameters())
    return Complexity(num_parameters=num_parameters, flops=counter.get_total_flops())
