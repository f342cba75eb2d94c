"""What a training run is made of, so that a checkpoint of one is never taken for another's."""

import platform
from typing import Any

from eightgig import __version__
from eightgig.core.origin import changes, flat
from eightgig.core.records import Effect, Record


class Recipe(Record):
    """Names and values that decide what comes out.

    Attributes:
        values: by dotted names; with other ones it is another run.
        circumstances: what changes the result by rounding at most, such as versions and the number of threads; a
            change is logged, and the run goes on.
    """

    values: dict[str, str]
    circumstances: dict[str, str]

    @classmethod
    def of(cls, *, code: str, **parts: Any) -> "Recipe":
        """Make one from records and plain values by name; circumstances are those of this process, and its code.

        Parameters that are declared to have no effect, or one on rounding alone, are no part of the values.

        Example: `Recipe.of(code=code_digest(...), train=parameters, store=store.sha256, seed=0)`.
        """
        return cls(values=flat(parts, without=tuple(Effect)), circumstances={"code": code, **circumstances()})

    def with_circumstances(self, **parts: Any) -> "Recipe":
        """Return the same recipe, with more that may change."""
        return self.model_copy(update={"circumstances": self.circumstances | flat(parts)})

    def changes(self, earlier: "Recipe") -> list[str]:
        """Return what of the values is other than it was, for a person."""
        return changes(self.values, earlier.values)

    def changed_circumstances(self, earlier: "Recipe") -> list[str]:
        """Return what else is other than it was."""
        return changes(self.circumstances, earlier.circumstances)


def circumstances() -> dict[str, str]:
    """Return what of this process may change the result by rounding."""
    import torch

    return {
        "eightgig": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
