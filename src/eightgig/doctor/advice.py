"""What a check says: what is, what is wanted, what to do."""

from typing import Literal

from eightgig.core.records import Record

Status = Literal["ok", "note", "warning", "problem"]
"""ok: as wanted. note: good to know. warning: runs may be slow or break off. problem: runs fail or miss the GPU."""


class Advice(Record):
    """One finding of the doctor.

    Attributes:
        code: stable, so that it can be looked up in docs/doctor.md and tested.
        title: what it is about, in a word or two.
        status: how much it matters.
        what_is: what was found.
        wanted: what would be right.
        to_do: how to get there; empty where nothing is to be done.
    """

    code: str
    title: str
    status: Status
    what_is: str
    wanted: str
    to_do: str = ""

    @property
    def is_serious(self) -> bool:
        """Whether it can spoil a run."""
        return self.status in ("warning", "problem")

    def sentence(self) -> str:
        """Say it in one line, for logs and pipes."""
        parts = [f"{self.code} {self.title}: {self.what_is}", f"wanted: {self.wanted}"]
        return "; ".join([*parts, f"to do: {self.to_do}"] if self.to_do else parts)
