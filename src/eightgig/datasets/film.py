"""Films for people."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from kedro_datasets._typing import ImagePreview

from eightgig.core.files import write_bytes
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    import numpy as np


class FilmDataset(FileDataset["tuple[np.ndarray, float]", bytes]):
    """Frames (T, height, width, 3) uint8 with their number a second, as a GIF that repeats; loads as bytes."""

    def save(self, data: "tuple[np.ndarray, float]") -> None:
        """Write the film."""
        from PIL import Image

        frames, rate = data
        # One palette for all frames, so that nothing flickers.
        images = [Image.fromarray(frame).quantize(64) for frame in frames]
        buffer = BytesIO()
        images[0].save(
            buffer, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 / rate), loop=0
        )
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> bytes:
        """Read the file."""
        return self.path.read_bytes()

    def preview(self) -> ImagePreview:
        """Show the film in kedro-viz."""
        return ImagePreview(base64.b64encode(self.path.read_bytes()).decode("ascii"))
