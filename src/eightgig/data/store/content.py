"""What a store is to hold, before it is written: the hand-over from the ingest stage to the store's dataset."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eightgig.core.progress import progress
from eightgig.core.units import bytes_from_gib
from eightgig.data.images.parameters import DataParameters
from eightgig.data.store.reader import write_store


@dataclass(frozen=True)
class StoreContent:
    """The manifest's images, below the folder they were found in; nothing is read until `write`."""

    manifest: pd.DataFrame
    root: Path
    parameters: DataParameters

    def write(self, path: Path) -> None:
        """Stream the images into a store at `path`, which is replaced when the new one is whole.

        Raises:
            StoreError: an image changed since it was inspected, another process is writing, or space is short.
        """
        with progress("writing the store") as report:
            write_store(
                path,
                self.manifest,
                self.root,
                self._classes(),
                short_side=self.parameters.store_short_side,
                shard_bytes=bytes_from_gib(self.parameters.store_shard_gib),
                tier=self.parameters.tier,
                decoded_side=self.parameters.decoded_side,
                progress=report,
            )

    def _classes(self) -> list[str]:
        """Return the names by their labels; each class has an image, or the set would have been refused."""
        named = self.manifest.drop_duplicates("label").sort_values("label")
        return [str(name) for name in named["class_name"]]
