"""A folder of files of one kind, by name: what one stage makes in as many copies as the user asked for."""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from pydantic import TypeAdapter, ValidationError

from eightgig.core.files import write_text

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NAMES = TypeAdapter(tuple[str, ...])


class FolderDataset(AbstractDataset[Mapping[str, Any], dict[str, Any]]):
    """Files `NAME` + `suffix`, each saved and loaded by another dataset; `index` + `suffix` + `.json` names them.

    The index is written last, so a folder without one was not finished. Folders may be shared by datasets of different
    suffixes: each removes its own stale files alone. No names at all are a value too.

    Args:
        filepath: the folder.
        dataset: class of each file, as `package.module.Class`; it takes `filepath`.
        suffix: with its dot, for example `.onnx`.
    """

    def __init__(self, *, filepath: str, dataset: str, suffix: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath, self._dataset, self._suffix = PurePosixPath(filepath), dataset, suffix
        self.metadata = metadata

    @property
    def path(self) -> Path:
        """The folder, as a path of this system."""
        return Path(self._filepath)

    def save(self, data: Mapping[str, Any]) -> None:
        """Write each file whole, remove those of other names, then write the index."""
        for name in data:
            if not _NAME.fullmatch(name):
                raise DatasetError(f"{self.path}: {name!r} is no name for a file; use letters, digits, `_` and `-`")
        self._index.unlink(missing_ok=True)
        for name, content in data.items():
            self._one(name).save(content)
        self._remove_all_but(set(data))
        write_text(self._index, json.dumps(list(data)) + "\n")

    def load(self) -> dict[str, Any]:
        """Read all files that the index names, in its order."""
        found = {}
        for name in self._names():
            one = self._one(name)
            if not one.exists():
                raise self._damaged(f"it names {name}, which is not there")
            found[name] = one.load()
        return found

    def _exists(self) -> bool:
        try:
            return self._index.is_file() and all(self._one(name).exists() for name in self._names())
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "dataset": self._dataset, "suffix": self._suffix}

    @property
    def _index(self) -> Path:
        return self.path / f"index{self._suffix}.json"

    def _names(self) -> tuple[str, ...]:
        try:
            names = _NAMES.validate_json(self._index.read_bytes())
        except ValidationError as error:
            raise self._damaged(str(error)) from error
        for name in names:
            if not _NAME.fullmatch(name):  # it could lead out of the folder
                raise self._damaged(f"{name!r} is no name for a file")
        return names

    def _damaged(self, found: str) -> DatasetError:
        return DatasetError(f"{self._index} is damaged: {found}. Run the stage that makes it once more.")

    def _one(self, name: str) -> Any:
        module, _, class_name = self._dataset.rpartition(".")
        return getattr(import_module(module), class_name)(filepath=str(self._filepath / f"{name}{self._suffix}"))

    def _remove_all_but(self, names: set[str]) -> None:
        for file in self.path.glob(f"*{self._suffix}"):
            name = file.name.removesuffix(self._suffix)
            if name not in names and _NAME.fullmatch(name):
                for stale in self._one(name).files:
                    stale.unlink(missing_ok=True)
