"""Pictures for people: contact sheets and the like."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from kedro_datasets._typing import ImagePreview

from eightgig.core.files import write_bytes
from eightgig.datasets.files import FileDataset

if TYPE_CHECKING:
    import numpy as np


class PictureDataset(FileDataset["np.ndarray", "np.ndarray"]):
    """A uint8 height x width x 3 array as a PNG file; kedro-viz shows it."""

    def save(self, data: "np.ndarray") -> None:
        """Write the picture as PNG."""
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(data).save(buffer, format="PNG", optimize=True)
        write_bytes(self.path, buffer.getvalue())

    def load(self) -> "np.ndarray":
        """Read the picture as uint8 height x width x 3."""
        import numpy as np
        from PIL import Image

        with Image.open(self.path) as image:
            return np.asarray(image.convert("RGB"))

    def preview(self) -> ImagePreview:
        """Show the picture in kedro-viz."""
        return ImagePreview(base64.b64encode(self.path.read_bytes()).decode("ascii"))
