"""TensorRT engines with the manifests that bind them to toolkit, card and ONNX file."""

from pathlib import Path

from eightgig.core.errors import ExportError
from eightgig.datasets.files import FileDataset
from eightgig.export.tensorrt.records import Engine, UnusableEngine

__all__ = ["Engine", "EngineDataset", "UnusableEngine"]


class EngineDataset(FileDataset[Engine, Engine | UnusableEngine]):
    """`NAME.engine` with `NAME.manifest.json` beside it; it exists when both are there.

    Loading proves that the engine is whole and its manifest unedited. Whether it fits this machine is for the runner to
    say: an engine may be kept, copied and reported where it cannot run.
    """

    def save(self, data: Engine) -> None:
        """Write the engine, then the manifest that vouches for it."""
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
        """The engine and its manifest."""
        return self.path, self.path.with_suffix(".manifest.json")

    def _exists(self) -> bool:
        return all(file.is_file() for file in self.files)
