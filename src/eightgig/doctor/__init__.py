"""The doctor: what this machine can run, and what to change. `make doctor`, and quietly at the start of each run.

Every check is one function of a `Machine` (readings) that gives an `Advice`: what is, what is wanted, what to do.
docs/doctor.md has a row for each code.
"""

from pathlib import Path

from eightgig.core.records import Record
from eightgig.doctor.advice import Advice, Status
from eightgig.doctor.checks import CHECKS, examine, outlook
from eightgig.doctor.machine import Machine, read_machine
from eightgig.doctor.software import Depth

__all__ = ["CHECKS", "Advice", "Depth", "Diagnosis", "Machine", "Status", "diagnose", "examine", "read_machine"]


class Diagnosis(Record):
    """A machine, and what the checks say of it.

    Attributes:
        outlook: what will run here, and on what.
    """

    machine: Machine
    advice: tuple[Advice, ...]
    outlook: str

    @property
    def serious(self) -> tuple[Advice, ...]:
        """Warnings and problems alone."""
        return tuple(advice for advice in self.advice if advice.is_serious)

    @property
    def has_problems(self) -> bool:
        """Whether something makes runs fail, or keeps them off the card."""
        return any(advice.status == "problem" for advice in self.advice)


def diagnose(depth: Depth = "full", folder: Path | None = None) -> Diagnosis:
    """Return what this machine is and what is to be said of it; `torch.cuda` stays uninitialised.

    Args:
        depth: `full` loads torch, which takes seconds; `quick` leaves out what only a loaded torch tells.
        folder: where data are; None takes the folder that runs would use.
    """
    machine = read_machine(depth, folder)
    advice = examine(machine)
    return Diagnosis(machine=machine, advice=advice, outlook=outlook(machine, advice))
