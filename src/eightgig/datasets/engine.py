"""TensorRT engines with the manifests that bind them to toolkit, card and ONNX file."""

from pathlib import Path

from eightgig.core.errors import ExportError
from eightgig.core.files import has_checksum, waiting_checksum
from eightgig.datasets.files import FileDataset
from eightgig.export.tensorrt.records import Engine, UnusableEngine

__all__ = ["Engine", "EngineDataset", "UnusableEngine"]


class EngineDataset(FileDataset[Engine, Engine | UnusableEngine]):
    """`NAME.engine` with `NAME.manifest.json` beside it; it exists when both are there.

    Loading proves that the engine is whole and its manifest unedited. Whether it fits this machine is for the runner to
    say: an engine may be kept, copied and reported where it cannot run.
    """

    def save(self, data: Engine) -> None:
        """Write the engine and the manifest that vouches for it; a kill leaves the older two or the newer two."""
        from eightgig.export.tensorrt.files import write_engine

        write_engine(self.path, data)

    def load(self) -> Engine | UnusableEngine:
        """Read engine and manifest; one that is not as it was written comes as the reason, to be built again."""
        from eightgig.export.tensorrt.files import read_engine

        try:
            return read_engine(self.path)
        except ExportError as error:
            return UnusableEngine(str(error))

    @property
    def files(self) -> tuple[Path, ...]:
        """The engine and its manifest, also one that a kill left waiting."""
        return self.path, self._manifest_path, waiting_checksum(self._manifest_path)

    def _exists(self) -> bool:
        return self.path.is_file() and has_checksum(self._manifest_path)

    @property
    def _manifest_path(self) -> Path:
        return self.path.with_suffix(".manifest.json")
