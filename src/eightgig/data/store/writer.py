"""Writing an image store: images are spooled, HDF5 lays a file out for them, and the store gets its name last.

HDF5 crashes the interpreter at exit when a disk fills up under it. So it only writes the small index, after the space
was checked and by way of `hdf5_files`; the images' bytes are written by Python, where a full disk is an ordinary
error.

Unfinished work lies in the folder `.NAME.parts` beside the store, with the hash of all that decides the result. A
writer with the same hash goes on there after a kill; one with another clears it.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from eightgig.core.errors import StoreError
from eightgig.core.files import space_shortage
from eightgig.core.units import MIB, format_bytes
from eightgig.data.images.streaming import Progress
from eightgig.data.store.atomic import exclusive_replacement
from eightgig.data.store.boxes import ragged_boxes
from eightgig.data.store.files import HDF5Output, fixed_texts
from eightgig.data.store.format import BLOCK_NAMES, DTYPES, FORMAT, TEXTS, VERSIONS, Index, Kind, read_index
from eightgig.data.store.rules import ReadMask, Rules, Source, Tier, choose_rules, recipe_of, sources_of, with_masks
from eightgig.data.store.shards import cut_into_shards, is_sound, listed_shards, shards_folder, write_list
from eightgig.data.store.spool import Spooled, fill_spool, remove_spool

_COPIED_BYTES = 8 * MIB


def write_store(
    path: Path,
    manifest: pd.DataFrame,
    root: Path,
    classes: Sequence[str],
    *,
    short_side: int | None = None,
    tier: Tier = "jpeg",
    decoded_side: int = 320,
    boxes: pd.DataFrame | None = None,
    masks: ReadMask | None = None,
    mask_rules: str = "",
    shard_bytes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the images of `manifest` (rows in order; paths relative to `root`) into the store at `path`.

    Memory does not grow with the number of images. `path` appears only when the store is whole; until then, and
    after a failure, what was there before stays. After a kill, the same call goes on where it was: no image that was
    spooled is read again.

    Args:
        path: the HDF5 file to make or replace.
        manifest: as from `build_manifest`, `build_detection_manifest` or `build_mask_manifest`; a column `value` is a
            number for each image beside its label.
        root: the folder that the manifest's paths are relative to.
        classes: names; the manifest's labels are positions in it.
        short_side: images with a longer short side, in pixels, are stored smaller, as JPEG; None changes none.
        tier: `jpeg` stores the files' own bytes; `decoded` stores pixels: the short side resized to `decoded_side`,
            the middle square of it.
        decoded_side: side of the decoded tier's images, in pixels.
        boxes: instead of a label for each image, as from `build_detection_manifest`; their `index` is a label of the
            manifest's index. They are scaled with their image. Tier `jpeg` only.
        masks: instead of a label for each image: gives the labels of one `mask_path` of the manifest. Masks are
            scaled with their image. Tier `jpeg` only.
        mask_rules: what besides the file decides a mask, such as the table of classes; with other rules nothing that
            an earlier call has done is kept.
        shard_bytes: source files of more bytes than this are stored in several files, which are read as one.
        progress: told (done, all) after each image.

    Raises:
        StoreError: no images, a label that is no class, boxes or masks in the decoded tier, an image changed since
            ingest, another process is writing, or space is short.
    """
    if manifest.empty:
        raise StoreError(f"{path}: there are no images to store. Look at the rejects.")
    labelled: Kind = "values" if "value" in manifest else "classes"
    kind = "boxes" if boxes is not None else "masks" if masks is not None else labelled
    if kind in ("boxes", "masks") and tier == "decoded":
        raise StoreError(f"{path}: the decoded tier cuts images square, so it holds no {kind}. Use tier 'jpeg'.")
    _require_known_labels(path, (manifest if boxes is None else boxes).get("label"), len(classes))
    rules = choose_rules(tier, short_side, decoded_side)
    settings = [kind, tier, short_side, decoded_side, shard_bytes, list(classes), mask_rules]
    recipe = recipe_of(manifest, root, boxes, settings)
    done = 0

    def on_each() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(manifest))

    target = path.parent / shards_folder(path, recipe)
    if _is_there(path, target):
        for _ in range(len(manifest)):
            on_each()
        return
    replaced = _shard_folders(path)
    with exclusive_replacement(path) as temporary:
        sizes = _estimated_sizes(manifest, tier, decoded_side)
        cuts = cut_into_shards(sizes, shard_bytes)
        _require_space(path, sizes, cuts, manifest["path"])
        try:
            parts = _parts_folder(path, target, recipe)
            for number, (first, last) in enumerate(cuts):
                work = _Shard(manifest.iloc[first:last], root, tuple(classes), kind, rules, boxes, masks)
                work.write(parts / f"{number:05d}.h5", on_each)
            _publish(temporary, parts, target, len(cuts))
        except OSError as error:
            shutil.rmtree(_unfinished(path), ignore_errors=True)
            num_bytes = int(sizes.sum())
            raise StoreError(
                f"{path}: writing failed after the space was checked ({error.strerror or error}); nothing was left "
                f"there. The store needs {num_bytes} bytes ({format_bytes(num_bytes)}). Free some space in "
                f"{path.parent}."
            ) from error
    for folder in replaced - {target}:
        shutil.rmtree(folder, ignore_errors=True)


class _Shard:
    """Some rows of the manifest on their way into one file."""

    def __init__(
        self,
        rows: pd.DataFrame,
        root: Path,
        classes: tuple[str, ...],
        kind: Kind,
        rules: Rules,
        boxes: pd.DataFrame | None,
        masks: ReadMask | None,
    ) -> None:
        self._rows, self._classes, self._kind, self._boxes = rows, classes, kind, boxes
        self._root, self._rules = root, rules if masks is None else with_masks(rules, masks)

    def write(self, path: Path, on_each: Callable[[], None]) -> None:
        """Make the file at `path`, unless an earlier run did."""
        if path.exists() and is_sound(path):  # it got its name when it was whole, but disks do err
            for _ in range(len(self._rows)):
                on_each()
            return
        spool, temporary = path.with_suffix(".spool"), path.with_suffix(".tmp")
        sources = sources_of(self._rows, self._root)
        index = self._index(sources, fill_spool(spool, sources, self._rules.make, on_each))
        start = _lay_out(temporary, index)
        with spool.open("rb") as read, temporary.open("r+b") as written:
            written.seek(start)
            shutil.copyfileobj(read, written, _COPIED_BYTES)
        _seal(temporary)
        temporary.replace(path)
        remove_spool(spool)

    def _index(self, sources: Sequence[Source], spooled: Sequence[Spooled]) -> Index:
        shapes = np.array([self._rules.shape_of(source) for source in sources], dtype=np.int32)
        ends = np.cumsum([each.size + each.mask_size for each in spooled])
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        index = Index(
            kind=self._kind,
            tier=self._rules.tier,
            offsets=offsets,
            shapes=shapes,
            codecs=np.array([each.codec for each in spooled], dtype=np.uint8),
            crc32=np.array([each.crc32 for each in spooled], dtype=np.uint32),
            classes=self._classes,
            paths=tuple(self._rows["path"]),
        )
        if self._boxes is not None:
            ragged = ragged_boxes(self._rows, self._boxes, shapes)
            return replace(index, box_offsets=ragged.offsets, boxes=ragged.boxes, box_labels=ragged.labels)
        if self._kind == "masks":
            begins = offsets[:-1] + np.array([each.size for each in spooled], dtype=np.int64)
            crc32 = np.array([each.mask_crc32 for each in spooled], dtype=np.uint32)
            return replace(index, mask_offsets=begins, mask_crc32=crc32)
        index = replace(index, labels=self._rows["label"].to_numpy(dtype=np.int64))
        return replace(index, values=self._rows["value"].to_numpy(np.float64)) if self._kind == "values" else index


def _require_known_labels(path: Path, labels: pd.Series | None, num_classes: int) -> None:
    if labels is None:
        return
    unknown = labels[(labels < 0) | (labels >= num_classes)]
    if len(unknown):
        raise StoreError(
            f"{path}: labels must be 0 to {num_classes - 1}, positions in the {num_classes} classes, found "
            f"{unknown.iloc[0]} (and {len(unknown) - 1} more). Look at the manifest, and ingest again."
        )


def _estimated_sizes(manifest: pd.DataFrame, tier: Tier, decoded_side: int) -> npt.NDArray[np.int64]:
    if tier == "decoded":
        return np.full(len(manifest), decoded_side * decoded_side * 3, dtype=np.int64)
    return manifest["byte_count"].to_numpy(dtype=np.int64)


def _require_space(path: Path, sizes: npt.NDArray[np.int64], cuts: list[tuple[int, int]], names: pd.Series) -> None:
    """Check before anything is written: free space, and any limit on the size of one file."""
    texts = (4 * int(names.str.len().max()) + 128) * len(names)  # a letter takes up to 4 bytes
    largest = max(int(sizes[first:last].sum()) for first, last in cuts) + texts + MIB
    needed = int(sizes.sum()) + largest  # while a shard is put together, its spool is still there
    if shortage := space_shortage(path, needed, largest_file=largest):
        raise StoreError(
            f"{path}: the store needs {needed} bytes ({format_bytes(needed)}) while it is written, in files of up to "
            f"{largest} bytes ({format_bytes(largest)}), but {shortage}. Free some space, raise the limit, lower "
            "data.store_shard_gib, or choose another folder."
        )


def _is_there(path: Path, target: Path) -> bool:
    """Tell whether the store is whole already, with shards of this very recipe; every byte is read for it."""
    if _shard_folders(path) != {target}:
        return False
    return all(is_sound(path.parent / name, sha256) for name, sha256 in listed_shards(path) or ())


def _shard_folders(path: Path) -> set[Path]:
    """Return the folders in which the shards of the present store lie."""
    try:
        return {(path.parent / name).parent for name, _ in listed_shards(path) or ()}
    except StoreError:
        return set()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.parts")


def _parts_folder(path: Path, target: Path, recipe: str) -> Path:
    """Return the folder of unfinished work, with what an earlier run of the same recipe left."""
    folder = _unfinished(path)
    if target.is_dir():  # killed after all was written, before the list named it; or some of it was damaged since
        shutil.rmtree(folder, ignore_errors=True)
        target.replace(folder)
        for shard in folder.glob("*.h5"):
            if not is_sound(shard):
                shard.unlink()
    noted = folder / "recipe"
    if not noted.is_file() or noted.read_text(encoding="utf-8") != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        noted.write_text(recipe, encoding="utf-8")
    return folder


def _publish(temporary: Path, parts: Path, target: Path, count: int) -> None:
    """Put what is to become the store where `temporary` is: the only part, or the list of all."""
    if count == 1:
        (parts / "00000.h5").replace(temporary)
        shutil.rmtree(parts)
        return
    files = [f"{number:05d}.h5" for number in range(count)]
    hashes = [read_index(parts / name)[0].sha256() for name in files]
    parts.replace(target)
    try:
        write_list(temporary, [f"{target.name}/{name}" for name in files], hashes)
    except OSError:
        target.replace(parts)  # unfinished again, and cleared away as such
        raise


def _lay_out(temporary: Path, index: Index) -> int:
    """Write the index and reserve the block of images; give the block's place in the file."""
    with HDF5Output(temporary) as file:
        file.set_texts(format=FORMAT, tier=index.tier, index_sha256=index.sha256())
        file.attrs.update({"version": VERSIONS[index.kind], "complete": False})
        for name in DTYPES[index.kind]:
            file.create_dataset(name, data=getattr(index, name))
        for name in TEXTS:
            file.create_dataset(name, data=fixed_texts(getattr(index, name)))
        return _reserve_block(file, index)


def _reserve_block(file: h5py.File, index: Index) -> int:
    """Reserve the bytes without writing them, which the high-level interface cannot."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)  # the same images make the same file at any time
    num_bytes = int(index.offsets[-1])
    shape = (num_bytes,) if index.tier == "jpeg" else (len(index.paths), *map(int, index.shapes[0]), 3)
    space = h5py.h5s.create_simple(shape)
    name = BLOCK_NAMES[index.tier].encode()
    return int(h5py.h5d.create(file.id, name, h5py.h5t.STD_U8LE, space, creation).get_offset())


def _seal(temporary: Path) -> None:
    """Set `complete` in its reserved place, when the images are there."""
    _flush(temporary)
    with HDF5Output(temporary, "r+") as file:
        file.attrs.modify("complete", True)
    _flush(temporary)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
