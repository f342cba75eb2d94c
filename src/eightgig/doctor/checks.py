"""All checks, in the order in which a person wants to read them."""

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


def examine(machine: Machine) -> tuple[Advice, ...]:
    """Return what all checks say of a machine."""
    return tuple(advice for check in CHECKS if (advice := check(machine)) is not None)
