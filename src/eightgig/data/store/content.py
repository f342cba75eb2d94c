"""What a store is to hold, before it is written: the hand-over from the ingest stage to the store's dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from eightgig.core.progress import progress
from eightgig.core.units import bytes_from_gib
from eightgig.data.images.parameters import ImageParameters
from eightgig.data.store.reader import write_store


@dataclass(frozen=True)
class StoreContent:
    """The manifest's images, below the folder they were found in; nothing is read until `write`.

    Attributes:
        manifest: a row an image.
        root: the folder that the manifest's paths are relative to.
        classes: names, in the order of their labels.
        parameters: how large images are stored, and in how many files.
        more: what `write_store` takes besides, by its names: boxes, masks, the tier.
    """

    manifest: pd.DataFrame
    root: Path
    classes: Sequence[str]
    parameters: ImageParameters
    more: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Stream the images into a store at `path`, which is replaced when the new one is whole.

        Raises:
            StoreError: a file changed since it was inspected, another process is writing, or space is short.
        """
        with progress("writing the store") as report:
            write_store(
                path,
                self.manifest,
                self.root,
                self.classes,
                short_side=self.parameters.store_short_side,
                shard_bytes=bytes_from_gib(self.parameters.store_shard_gib),
                progress=report,
                **self.more,
            )
