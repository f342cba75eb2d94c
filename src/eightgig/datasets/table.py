"""Tables as CSV."""

from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import TablePreview

from eightgig.core.files import atomic_write
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    import pandas as pd


class TableDataset(FileDataset["pd.DataFrame", "pd.DataFrame"]):
    """A table as CSV without its index; Kedro's own does not save atomically, and half a list looks like a whole one.

    Args:
        filepath: of the file.
        load_args: of `pandas.read_csv`.
    """

    def __init__(
        self, *, filepath: str, load_args: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._load_args = load_args or {}

    def save(self, data: "pd.DataFrame") -> None:
        """Write the table; the old one stays until the new one is whole."""
        with atomic_write(self.path) as temporary:
            data.to_csv(temporary, index=False)

    def load(self) -> "pd.DataFrame":
        """Read the table."""
        return self._read()

    def preview(self, nrows: int = 5) -> TablePreview:
        """Show the first rows in kedro-viz."""
        return TablePreview(self._read(nrows=nrows).to_dict(orient="split"))

    def _read(self, **more: Any) -> "pd.DataFrame":
        import pandas as pd

        return pd.read_csv(self.path, **self._load_args, **more)
