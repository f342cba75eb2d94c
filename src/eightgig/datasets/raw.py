"""The raw images as a dataset."""

from typing import TYPE_CHECKING

from kedro.io import DatasetError
from pydantic import ValidationError

from eightgig.core.files import write_text
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    from eightgig.data.ingest.sources import RawImages, Source


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
