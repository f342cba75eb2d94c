"""Checkpoints: each is whole and checksummed by SHA-256, or it is not used.

    NAME/step-00001200.pt    tensors and plain values, no pickled code
    NAME/manifest.json       which files are checkpoints, the newest last, and what they belong to

A file gets its name when it is on the disk, and is listed after that: whatever moment the power fails in, the newest
listed file is whole. The one before it stays, in case the newest is damaged later.
"""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eightgig.core.errors import CheckpointError
from eightgig.core.files import atomic_write, space_shortage, write_text
from eightgig.core.records import Record
from eightgig.core.units import MIB, format_bytes
from eightgig.training.checkpointing.recipe import Recipe

logger = logging.getLogger(__name__)
MANIFEST = "manifest.json"
ARCHIVE = "previous"
_MAX_CHECKPOINTS = 2  # the newest, and the one before it in case the newest is damaged


class CheckpointEntry(Record):
    """One checkpoint of the manifest: `step` optimizer steps were done before it."""

    file: str
    sha256: str
    num_bytes: int
    step: int


class Manifest(Record):
    """What a folder of checkpoints holds, and which run they belong to."""

    recipe: Recipe
    checkpoints: tuple[CheckpointEntry, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read: its state, and the recipe of its run."""

    step: int
    state: dict[str, Any]
    recipe: Recipe


class Checkpoints:
    """The checkpoints of one training run.

    Args:
        folder: made when the first one is saved.
        recipe: what the run is made of; a checkpoint carries it, so that it is not taken for another run's.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe

    def save(self, state: dict[str, Any], *, step: int, keep: int = _MAX_CHECKPOINTS) -> Path:
        """Write a checkpoint; older ones than the last `keep` are removed.

        Raises:
            CheckpointError: it does not fit on the disk, or cannot be written; the ones before are as they were.
        """
        import torch

        path = self.folder / f"step-{step:08d}.pt"
        self.require_space(size_of(state), path)
        try:
            with atomic_write(path) as temporary:
                torch.save(state, temporary)
                digest, num_bytes = _digest(temporary), temporary.stat().st_size
            earlier = [entry for entry in self._entries() if entry.file != path.name]
            entries = [*earlier, CheckpointEntry(file=path.name, sha256=digest, num_bytes=num_bytes, step=step)][-keep:]
            manifest = Manifest(recipe=self.recipe, checkpoints=tuple(entries))
            write_text(self.folder / MANIFEST, manifest.model_dump_json(indent=1))
        except (OSError, RuntimeError) as error:
            # torch's writer turns whatever the disk says into a RuntimeError about the position in its file.
            why = error.strerror if isinstance(error, OSError) else "most likely the disk is full"
            raise CheckpointError(
                f"{path}: the checkpoint of {size_of(state)} bytes ({format_bytes(size_of(state))}) could not be "
                f"written ({why}). Free some space, or choose another folder with EIGHTGIG_DATA."
            ) from error
        self._remove_all_but({entry.file for entry in entries})
        return path

    def require_space(self, num_bytes: int, path: Path | None = None) -> None:
        """Refuse to begin what would not end.

        Raises:
            CheckpointError: the disk has less than `num_bytes` left.
        """
        path = path or self.folder / "step-00000000.pt"
        if shortage := space_shortage(path, num_bytes):
            raise CheckpointError(
                f"{path}: a checkpoint needs {num_bytes} bytes ({format_bytes(num_bytes)}), but {shortage}. Free some "
                "space, or choose another folder with EIGHTGIG_DATA."
            )

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is what its manifest says; None where there is none.

        A damaged one is logged and left where it is, and the one before it is taken.
        """
        manifest = self._manifest()
        if manifest is None:
            return None
        for entry in reversed(manifest.checkpoints):
            try:
                state = read_checkpoint(self.folder / entry.file, sha256=entry.sha256)
            except CheckpointError as error:
                logger.warning("%s The checkpoint before it is taken.", error)
                continue
            return Checkpoint(entry.step, state, manifest.recipe)
        return None

    def archive(self) -> None:
        """Move what is there into the folder `previous`, in place of what was there: a new run begins."""
        found = [path for path in self.folder.glob("*") if path.name == MANIFEST or path.suffix == ".pt"]
        if not found:
            return
        archive = self.folder / ARCHIVE
        shutil.rmtree(archive, ignore_errors=True)
        archive.mkdir()
        for path in sorted(found, key=lambda path: path.name != MANIFEST):  # the list first: no file without it counts
            path.replace(archive / path.name)

    def _manifest(self) -> Manifest | None:
        path = self.folder / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = str(error).partition("\n")[0]
            logger.warning(
                "%s: the list of checkpoints cannot be read (%s): there is nothing to go on from.", path, reason
            )
            return None

    def _entries(self) -> tuple[CheckpointEntry, ...]:
        manifest = self._manifest()
        return manifest.checkpoints if manifest and manifest.recipe == self.recipe else ()

    def _remove_all_but(self, names: set[str]) -> None:
        for path in (*self.folder.glob("step-*.pt"), *self.folder.glob(".*.tmp")):
            if path.name not in names:
                path.unlink(missing_ok=True)


def read_checkpoint(path: Path, *, sha256: str) -> dict[str, Any]:
    """Read a file of tensors and plain values; nothing in it is run.

    Raises:
        CheckpointError: it is missing, or not the file that the hash is of.
    """
    import torch

    try:
        if _digest(path) != sha256:
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one that was noted when it was written.")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from error
    except CheckpointError:
        raise
    except Exception as error:  # whatever torch's reader makes of a file that is none
        raise CheckpointError(
            f"{path} is no checkpoint of tensors and plain values ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint of tensors and plain values.")
    return state


def size_of(state: Any) -> int:
    """Return about how many bytes a state takes on the disk."""
    import torch

    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return MIB // 1024 + sum(size_of(value) for value in state.values())
    if isinstance(state, list | tuple):
        return sum(size_of(value) for value in state)
    return 16


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
