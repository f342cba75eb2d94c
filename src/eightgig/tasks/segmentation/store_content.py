"""What a store of masks is to hold: images, and how the mask of each is read."""

from functools import partial

import pandas as pd

from eightgig.core.errors import ImageRejectedError, StoreError
from eightgig.data.store.content import StoreContent
from eightgig.data.store.masks import Labels
from eightgig.tasks.segmentation.layouts import MaskFolder
from eightgig.tasks.segmentation.mask_files import read_mask
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters


def masked_content(manifest: pd.DataFrame, folder: MaskFolder, parameters: SegmentationDataParameters) -> StoreContent:
    """Return the manifest's images with their masks, below the folder they were found in."""
    masks = {"masks": partial(_mask, folder, parameters.max_pixels), "mask_rules": repr(folder.table)}
    return StoreContent(manifest, folder.root, folder.table.classes, parameters, masks)


def _mask(folder: MaskFolder, max_pixels: int, mask_path: str) -> Labels:
    path = folder.root / mask_path
    try:
        return read_mask(path, folder.table, max_pixels=max_pixels)
    except ImageRejectedError as error:
        raise StoreError(f"{path}: changed since it was inspected ({error}). Ingest again.") from error
