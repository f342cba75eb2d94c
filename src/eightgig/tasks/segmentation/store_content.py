"""What a store of masks is to hold, before it is written: handed from the ingest stage to the store's dataset."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.core.progress import progress
from eightgig.core.units import bytes_from_gib
from eightgig.data.store.masks import Labels
from eightgig.data.store.reader import write_store
from eightgig.tasks.segmentation.layouts import MaskFolder
from eightgig.tasks.segmentation.mask_files import read_mask
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters


@dataclass(frozen=True)
class MaskStoreContent:
    """The manifest's images with their masks, below the folder they were found in; nothing is read until `write`."""

    manifest: pd.DataFrame
    folder: MaskFolder
    parameters: SegmentationDataParameters

    def write(self, path: Path) -> None:
        """Stream images and masks into a store at `path`, which is replaced when the new one is whole.

        Raises:
            StoreError: a file changed since it was inspected, another process is writing, or space is short.
        """
        with progress("writing the store") as report:
            write_store(
                path,
                self.manifest,
                self.folder.root,
                self.folder.table.classes,
                short_side=self.parameters.store_short_side,
                shard_bytes=bytes_from_gib(self.parameters.store_shard_gib),
                masks=self._mask,
                mask_rules=repr(self.folder.table),
                progress=report,
            )

    def _mask(self, mask_path: str) -> Labels:
        path = self.folder.root / mask_path
        try:
            return read_mask(path, self.folder.table, max_pixels=self.parameters.max_pixels)
        except ImageRejectedError as error:
            raise StoreError(f"{path}: changed since it was inspected ({error}). Ingest again.") from error
