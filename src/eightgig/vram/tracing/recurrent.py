"""Recurrent networks, which a GPU runs by one kernel of cuDNN and the fake device by torch's own cells."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eightgig.vram.tracing.fake_device import kernel_library

_SAVED_BY_GRU = 5  # values a hidden one: GRU_WORKSPACE_MULTIPLIER of aten/src/ATen/native/cuda/RNN.cu
_Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]


@contextmanager
def fused_cells() -> Iterator[None]:
    """Give the fake device the shapes of the fused GRU cell, which torch has for no tensors without values."""
    with kernel_library("aten") as library:
        library.impl("_thnn_fused_gru_cell", _gru_cell, "Meta")
        library.impl("_thnn_fused_gru_cell_backward", _gru_cell_backward, "Meta")
        yield


def remark_of(module: nn.Module) -> str | None:
    """Say what recurrent layers of a network are predicted as; None where there are none."""
    kinds = sorted({type(part).__name__ for part in module.modules() if isinstance(part, nn.RNNBase)})
    if not kinds:
        return None
    return (
        f"{', '.join(kinds)}: predicted as torch's own cells, one after the other; on a GPU cuDNN runs all steps in "
        "one kernel and keeps a reserve of its own for the backward pass"
    )


def _gru_cell(
    input_gates: Tensor,  # noqa: ARG001 - as the op has it
    hidden_gates: Tensor,  # noqa: ARG001
    hidden: Tensor,
    input_bias: Tensor | None = None,  # noqa: ARG001
    hidden_bias: Tensor | None = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(hidden), hidden.new_empty((hidden.shape[0], _SAVED_BY_GRU * hidden.shape[1]))


def _gru_cell_backward(gradient: Tensor, saved: Tensor, has_bias: bool) -> _Gradients:
    gates = (saved.shape[0], 3 * saved.shape[1] // _SAVED_BY_GRU)
    biases = [saved.new_empty(gates[1]) if has_bias else None for _ in range(2)]
    return saved.new_empty(gates), saved.new_empty(gates), torch.empty_like(gradient), biases[0], biases[1]
