"""The base of this project's datasets: one file, saved atomically, present only when it is whole."""

from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import AbstractDataset

In = TypeVar("In")
Out = TypeVar("Out")


class FileDataset(AbstractDataset[In, Out], Generic[In, Out]):
    """One file under the project's `data/` folder."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    @property
    def path(self) -> Path:
        """The file, as a path of this system."""
        return Path(self._filepath)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that belong to it: to be removed together."""
        return (self.path,)

    def _exists(self) -> bool:
        return self.path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
