"""The HDF5 store as a dataset."""

from typing import TYPE_CHECKING

from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    from eightgig.data.store.content import StoreContent
    from eightgig.data.store.reader import ImageStore


class StoreDataset(FileDataset["StoreContent", "ImageStore"]):
    """A flat JPEG store: saved by streaming images into it, loaded as a reader that holds none of them."""

    def save(self, data: "StoreContent") -> None:
        """Stream the images into a new store; the old one stays until the new one is whole."""
        data.write(self.path)

    def load(self) -> "ImageStore":
        """Open the store's index."""
        from eightgig.data.store.reader import ImageStore

        return ImageStore(self.path)

    def _exists(self) -> bool:
        from eightgig.data.store.reader import is_complete

        return is_complete(self.path)
