"""Text files."""

from kedro.io import DatasetError

from eightgig.core.files import write_text
from eightgig.datasets.files import FileDataset


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
