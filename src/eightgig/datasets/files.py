"""The base of this project's datasets: one file, saved atomically, present only when it is whole; and plain files."""

from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io import AbstractDataset, DatasetError

from eightgig.core.files import write_bytes, write_text

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


class TextDataset(FileDataset[str, str]):
    """A text as UTF-8."""

    def save(self, data: str) -> None:
        """Write the text atomically."""
        write_text(self.path, data)

    def load(self) -> str:
        """Read the text."""
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{self.path} is no text in UTF-8 ({error}). Run the stage that makes it once more."
            ) from error


class OnnxDataset(FileDataset[bytes, bytes]):
    """One self-contained ONNX file; its card is in the file's own metadata."""

    def save(self, data: bytes) -> None:
        """Write the model atomically."""
        write_bytes(self.path, data)

    def load(self) -> bytes:
        """Read the model."""
        return self.path.read_bytes()
