"""Where a plan of this machine will be carried out: its device, its card, and what of that a run may take."""

from eightgig.core.device import DeviceKind, describe_device, resolve_device
from eightgig.core.errors import ConfigurationError
from eightgig.core.kernels import lack_on
from eightgig.core.records import Record
from eightgig.vram.cards.catalog import Card, card_named
from eightgig.vram.cards.found import card_found
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.runtime.card_memory import memory_of_run

DEFAULT_CARD = "RTX 3070"  # the card of 8 GB that conf/rtx3070 is for


class Target(Record):
    """Where a run takes place.

    Attributes:
        card: that `plan.card` names, or the one that is found, or the RTX 3070: for kernels' workspaces and times.
        memory: of the card that the run uses; None on the CPU, where a plan is for the card of its budget.
    """

    device: DeviceKind
    device_name: str
    card: Card
    memory: CardMemory | None


def target_of(parameters: PlanParameters, *, processes: int = 1) -> Target:
    """Return where a run of this machine takes place; every plan of such a run asks this.

    Args:
        parameters: the device and card that were asked for.
        processes: on this machine, each with a card of its own.

    Raises:
        ConfigurationError: `cuda` was asked for and torch finds no usable GPU, or has no kernels for the card of a
            process; or the catalog has no such card.
    """
    device = resolve_device(parameters.device)
    if device == "cuda":
        _check_kernels(processes)
    return Target(
        device=device,
        device_name=describe_device(device),
        card=card_named(parameters.card) if parameters.card else card_found() or card_named(DEFAULT_CARD),
        memory=memory_of_run(processes) if device == "cuda" else None,
    )


def _check_kernels(processes: int) -> None:
    import torch

    for index in range(1, min(processes, torch.cuda.device_count())):
        if lack := lack_on(index):
            raise ConfigurationError(
                f"process {index} of train.distributed.nproc_per_node = {processes} would use card {index}, but "
                f"{lack.what_is}. The way out: name cards with kernels in CUDA_VISIBLE_DEVICES, or "
                f"train.distributed.nproc_per_node={index}."
            )
