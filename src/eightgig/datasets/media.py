"""What people look at: images, films and figures, which kedro-viz shows, and pages."""

import base64
import json
from io import BytesIO
from typing import TYPE_CHECKING

from kedro.io import DatasetError
from kedro_datasets._typing import ImagePreview, PlotlyPreview

from eightgig.core.files import write_bytes, write_text
from eightgig.datasets.files import FileDataset, TextDataset
from eightgig.report.page import Page

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure


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


class FigureDataset(FileDataset["Figure", "Figure"]):
    """A figure of plotly as JSON; kedro-viz shows it."""

    def save(self, data: "Figure") -> None:
        """Write the figure atomically."""
        write_text(self.path, data.to_json())

    def load(self) -> "Figure":
        """Read the figure."""
        from plotly.io import from_json

        return from_json(self.path.read_text(encoding="utf-8"))

    def preview(self) -> PlotlyPreview:
        """Show the figure in kedro-viz."""
        return PlotlyPreview(json.loads(self.path.read_text(encoding="utf-8")))


class PageDataset(FileDataset[Page, str]):
    """A report page, as one self-contained HTML file; loaded it is that file's text."""

    def save(self, data: Page) -> None:
        """Render the page and write it atomically."""
        from eightgig.report.html import render_page

        write_text(self.path, render_page(data))

    def load(self) -> str:
        """Read the text."""
        return TextDataset(filepath=str(self._filepath)).load()
