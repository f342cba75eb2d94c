"""ONNX models as bytes."""

from eightgig.core.files import write_bytes
from eightgig.datasets.files import FileDataset


class OnnxDataset(FileDataset[bytes, bytes]):
    """One self-contained ONNX file; its card is in the file's own metadata."""

    def save(self, data: bytes) -> None:
        """Write the model atomically."""
        write_bytes(self.path, data)

    def load(self) -> bytes:
        """Read the model."""
        return self.path.read_bytes()
