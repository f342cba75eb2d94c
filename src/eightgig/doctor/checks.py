"""All checks, in the order in which a person wants to read them, and what they mean for runs."""

from collections.abc import Callable

from eightgig.doctor import card_checks, driver_checks, host_checks
from eightgig.doctor.advice import Advice
from eightgig.doctor.machine import Machine

Check = Callable[[Machine], Advice | None]
"""Looks at one thing; None where it does not apply, or could not be read."""

CHECKS: tuple[Check, ...] = (
    driver_checks.gpu_found,
    driver_checks.driver,
    driver_checks.torch_build,
    driver_checks.tensor_cores,
    driver_checks.tf32,
    card_checks.card_memory,
    card_checks.other_programs,
    card_checks.display,
    card_checks.spilling,
    card_checks.allocator,
    card_checks.heat,
    card_checks.power,
    card_checks.link,
    card_checks.readiness,
    driver_checks.tensorrt,
    driver_checks.onnxruntime,
    host_checks.cores,
    host_checks.threads,
    host_checks.memory,
    host_checks.shared_memory,
    host_checks.open_files,
    host_checks.disk_kind,
    host_checks.disk_space,
    host_checks.python,
)
# docs/measured.md, on two cores of an AMD EPYC: the built-in sample's pipeline, and EfficientNet-B3 at 300 px.
_SAMPLE_MINUTES = 5
_IMAGES_PER_SECOND = 4
# What keeps a run off the card: card, driver, torch's build, compute mode.
_GATES = ("DOC001", "DOC002", "DOC003", "DOC014")


def examine(machine: Machine) -> tuple[Advice, ...]:
    """Return what all checks say of a machine."""
    return tuple(advice for check in CHECKS if (advice := check(machine)) is not None)


def outlook(machine: Machine, advice: tuple[Advice, ...]) -> str:
    """Return what will run, and on what."""
    closed = [item.code for item in advice if item.code in _GATES and item.status == "problem"]
    if machine.gpu and not closed:
        return f"Runs use {machine.gpu.name}, within plan.budget_gib (8 GiB unless you say otherwise){_less(machine)}."
    reason = f"Until {' and '.join(closed)} is solved, runs use the CPU. " if closed else "Runs use the CPU. "
    return (
        f"{reason}The built-in samples take minutes (flower_classifier: about {_SAMPLE_MINUTES} on two cores); "
        "planning and export are the same as beside a card. The full recipes want a card: on two cores "
        f"EfficientNet-B3 trains at about {_IMAGES_PER_SECOND} images a second."
    )


def _less(machine: Machine) -> str:
    """Return what else the planner and the cap of a run keep to."""
    return " and what is free of it" if machine.spills else " and what it has"
