"""Images for people: contact sheets and the like."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from kedro.io import DatasetError
from kedro_datasets._typing import ImagePreview

from eightgig.core.files import write_bytes
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    import numpy as np


_MOST_PIXELS = 32_000_000


class ImageDataset(FileDataset["np.ndarray", "np.ndarray"]):
    """A uint8 height x width x 3 array as a PNG file; kedro-viz shows it."""

    def save(self, data: "np.ndarray") -> None:
        """Write the image as PNG."""
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(data).save(buffer, format="PNG", optimize=True)
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> "np.ndarray":
        """Read the image as uint8 height x width x 3."""
        from eightgig.core.errors import ImageRejectedError
        from eightgig.data.images.decoding import decode_rgb

        try:
            return decode_rgb(self.path.read_bytes(), max_pixels=_MOST_PIXELS)
        except ImageRejectedError as error:
            raise DatasetError(
                f"{self.path} is no image that can be read ({error}). Run the stage that makes it once more."
            ) from error

    def preview(self) -> ImagePreview:
        """Show the image in kedro-viz."""
        return ImagePreview(base64.b64encode(self.path.read_bytes()).decode("ascii"))
