"""The report page."""

from eightgig.core.files import write_text
from eightgig.datasets.files import FileDataset


class PageDataset(FileDataset[str, str]):
    """One self-contained HTML page."""

    def save(self, data: str) -> None:
        """Write the page atomically."""
        write_text(self.path, data)

    def load(self) -> str:
        """Read the page."""
        return self.path.read_text(encoding="utf-8")
