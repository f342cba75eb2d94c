"""A training's samples: where the raw images are, and the HDF5 stores of images and of tokens."""

from typing import TYPE_CHECKING

from kedro.io import DatasetError
from pydantic import ValidationError

from eightgig.core.files import write_text
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    from eightgig.data.ingest.sources import RawImages, Source
    from eightgig.data.store.content import StoreContent
    from eightgig.data.store.reader import ImageStore
    from eightgig.data.store.tokens import TokenContent, TokenStore


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


class TokenStoreDataset(FileDataset["TokenContent", "TokenStore"]):
    """Token ids of any length, one sample after the other: loaded as a reader that holds none of them."""

    def save(self, data: "TokenContent") -> None:
        """Write a new store; the old one stays until the new one is whole."""
        data.write(self.path)

    def load(self) -> "TokenStore":
        """Open the store's index."""
        from eightgig.data.store.tokens import TokenStore

        return TokenStore(self.path)

    def _exists(self) -> bool:
        from eightgig.data.store.tokens import is_complete

        return is_complete(self.path)


class RawImagesDataset(FileDataset["Source", "RawImages"]):
    """A JSON file that says where the images are; saving a source brings them to the file's folder where needed."""

    def save(self, data: "Source") -> None:
        """Let the source bring its images to disk, then write where they are."""
        self.path.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, data.materialise(self.path.parent).model_dump_json(indent=2) + "\n")

    def load(self) -> "RawImages":
        """Read where the images are."""
        from eightgig.data.ingest.sources import RawImages

        try:
            return RawImages.model_validate_json(self.path.read_bytes())
        except ValidationError as error:
            raise DatasetError(
                f"{self.path} does not say where images are: {error}. Run the ingest stage once more."
            ) from error
