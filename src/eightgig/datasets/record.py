"""Results as JSON files."""

from importlib import import_module
from typing import Any

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview
from pydantic import ValidationError

from eightgig.core.files import write_text
from eightgig.core.records import Record
from eightgig.datasets.files import FileDataset


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
