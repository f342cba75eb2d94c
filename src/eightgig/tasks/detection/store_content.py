"""What a store of boxes is to hold, before it is written: handed from the ingest stage to the store's dataset."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eightgig.core.progress import progress
from eightgig.core.units import bytes_from_gib
from eightgig.data.store.reader import write_store
from eightgig.tasks.detection.annotated import DetectionFolder
from eightgig.tasks.detection.parameters import DetectionDataParameters


@dataclass(frozen=True)
class DetectionStoreContent:
    """The manifest's images with their boxes, below the folder they were found in; nothing is read until `write`."""

    manifest: pd.DataFrame
    boxes: pd.DataFrame
    folder: DetectionFolder
    parameters: DetectionDataParameters

    def write(self, path: Path) -> None:
        """Stream the images into a store at `path`, which is replaced when the new one is whole.

        Raises:
            StoreError: an image changed since it was inspected, another process is writing, or space is short.
        """
        with progress("writing the store") as report:
            write_store(
                path,
                self.manifest,
                self.folder.root,
                self.folder.classes,
                short_side=self.parameters.store_short_side,
                shard_bytes=bytes_from_gib(self.parameters.store_shard_gib),
                boxes=self.boxes,
                progress=report,
            )
