"""What an engine can be tied to on this machine: card, driver, system."""

import platform

from eightgig.core.errors import ExportError
from eightgig.core.records import Record
from eightgig.vram.cards.catalog import cards


class EngineMachine(Record):
    """This machine as engines see it; `compute_capability`, `gpu` and `driver` are None without a usable GPU."""

    compute_capability: tuple[int, int] | None
    gpu: str | None
    driver: str | None
    platform: str


def this_machine() -> EngineMachine:
    """Return the machine, with the card that torch uses."""
    import torch

    system = f"{platform.system()} {platform.machine()}"
    if not torch.cuda.is_available():
        return EngineMachine(compute_capability=None, gpu=None, driver=None, platform=system)
    from eightgig.vram.tracing.card_probe import driver_version

    return EngineMachine(
        compute_capability=torch.cuda.get_device_capability(),
        gpu=torch.cuda.get_device_name(),
        driver=driver_version(),
        platform=system,
    )


def describe_capability(capability: tuple[int, int]) -> str:
    """Write a compute capability for a person: `sm_86 (RTX 3060 12 GB, RTX 3070, ...)`."""
    name = f"sm_{capability[0]}{capability[1]}"
    known = [card.name for card in cards() if card.compute_capability == capability]
    return f"{name} ({', '.join(known[:3])}{', ...' if len(known) > 3 else ''})" if known else name


def require_gpu(machine: EngineMachine, capability: tuple[int, int]) -> None:
    """Refuse to run an engine where it cannot run. ExportError says what it was built for and what is here."""
    built_for = f"built for {describe_capability(capability)}"
    if machine.compute_capability is None:
        raise ExportError(f"{built_for}; running it waits for a GPU: torch finds none that it can use here.")
    if machine.compute_capability != capability:
        raise ExportError(
            f"{built_for}, found {machine.gpu} with {describe_capability(machine.compute_capability)}. "
            "Build the engine again for this card."
        )
