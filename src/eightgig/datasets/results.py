"""Results: records as JSON, and tables as CSV."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview, TablePreview
from pydantic import ValidationError

from eightgig.core.files import atomic_write, write_text
from eightgig.core.records import Record
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    import pandas as pd


class RecordDataset(FileDataset[Record, Record]):
    """A `Record` as JSON; its class is named in the catalog as `package.module.Class`."""

    def __init__(self, *, filepath: str, record: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._record = record

    def save(self, data: Record) -> None:
        """Write the record, indented for people and for diffs."""
        write_text(self.path, data.model_dump_json(indent=2) + "\n")

    def load(self) -> Record:
        """Read the record and check it against its class."""
        module, _, name = self._record.rpartition(".")
        record_class: type[Record] = getattr(import_module(module), name)
        try:
            return record_class.model_validate_json(self.path.read_bytes())
        except ValidationError as error:
            raise DatasetError(
                f"{self.path} is not a {name} of this version: {error}. Run the stage that makes it once more."
            ) from error

    def preview(self) -> JSONPreview:
        """Show the JSON in kedro-viz."""
        return JSONPreview(self.load().model_dump_json())


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
