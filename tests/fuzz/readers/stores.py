"""HDF5 stores of images and of tokens, and the journal of an ingest."""

from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, text_edits
from tests.fuzz.harness import Reader
from tests.fuzz.hdf5 import hdf5_edits
from tests.fuzz.readers.images import encoded, pixels, put

_NUM_IMAGES = 4


def _manifest(root: Path) -> Any:
    import pandas as pd

    from eightgig.data.images.decoding import inspect_image

    rows = []
    for number in range(_NUM_IMAGES):
        kind, name = (("PNG", f"{number}.png"), ("JPEG", f"{number}.jpg"))[number % 2]
        put(root / name, encoded(pixels(number), kind))
        found = inspect_image(root / name, max_pixels=10**6, min_side=1)
        rows.append({"path": name, "mask_path": f"m{number}", "label": number % 2, **found.model_dump()})
    return pd.DataFrame(rows)


def _write(folder: Path, **options: Any) -> None:
    import tempfile

    from eightgig.data.store.reader import write_store

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        write_store(folder / "store.h5", _manifest(Path(root)), Path(root), ("cup", "pen"), **options)
    (folder / ".store.h5.lock").unlink(missing_ok=True)


def _write_classes(folder: Path) -> None:
    _write(folder / "0")
    _write(folder / "1", tier="decoded", decoded_side=16)


def _write_boxes(folder: Path) -> None:
    import pandas as pd

    row = {"label": 1, "x1": 1.0, "y1": 2.0, "x2": 9.0, "y2": 8.0}
    _write(folder / "0", boxes=pd.DataFrame([{"index": index, **row} for index in (0, 0, 2, 3)]))


def _write_masks(folder: Path) -> None:
    import numpy as np

    labels = np.kron(np.array([[0, 1], [255, 0]], np.uint8), np.ones((12, 16), np.uint8))
    _write(folder / "0", masks=lambda _: labels)


def _write_shards(folder: Path) -> None:
    _write(folder / "0", shard_bytes=2_500)


def _read_store(folder: Path) -> None:
    from eightgig.data.store.reader import ImageStore, is_complete

    is_complete(folder / "store.h5")
    store = ImageStore(folder / "store.h5")
    for index in range(min(len(store), 10)):
        store.decode(index)
        if store.kind == "boxes":
            store.boxes(index)
        elif store.kind == "masks":
            store.mask(index)
    store.verify()


def _write_tokens(folder: Path) -> None:
    from eightgig.data.store.tokenizers import train_bpe
    from eightgig.data.store.tokens import TokenContent

    whole: dict[str, Any] = {
        "tokens": [[1, 2, 3], [4, 5], []],
        "labels": [0, 1, 1],
        "texts": ["first", "second, with ünïcode", ""],
        "num_bytes": [5, 22, 0],
        "paths": ["a.txt", "b.txt:2", "c"],
        "classes": ("no", "yes"),
        "tokenizer_json": train_bpe(["a small text, and another"], vocab_size=270),
        "vocab_size": 300,
        "max_tokens": 8,
    }
    blocks = whole | {"labels": None, "texts": None, "classes": (), "vocab_size": 100_000}
    for number, values in enumerate((whole, blocks)):
        path = folder / str(number) / "tokens.h5"
        TokenContent(**values).write(path)
        (path.parent / ".tokens.h5.lock").unlink(missing_ok=True)


def _read_tokens(folder: Path) -> None:
    from eightgig.data.store.tokens import TokenStore, is_complete

    is_complete(folder / "tokens.h5")
    store = TokenStore(folder / "tokens.h5")
    for index in range(min(len(store), 10)):
        store.tokens(index)
        if store._text_offsets is not None:
            store.text(index)
    assert len(store.sha256) == 64


def _write_journal(folder: Path) -> None:
    _inspect(folder / "0")
    (folder / "0" / ".journal.jsonl.lock").unlink(missing_ok=True)


def _inspect(folder: Path) -> None:
    """Inspect images that are not there: the journal alone is foreign."""
    from eightgig.core.errors import ImageRejectedError
    from eightgig.data.images.decoding import Inspection
    from eightgig.data.ingest.inspection import FileReader
    from eightgig.data.ingest.journal import open_journal

    folder.mkdir(parents=True, exist_ok=True)

    def inspect(path: str) -> Inspection | ImageRejectedError:
        if path == "b.jpg":
            return ImageRejectedError("damaged", "cut short")
        return Inspection(codec="jpeg", width=8, height=9, byte_count=10, content_hash=path)

    names = ["a.jpg", "b.jpg", "c.jpg"]
    reader = FileReader(folder, names, lambda name: (name,), inspect, Inspection, "5 6")
    with open_journal(folder / "journal.jsonl", reader.recipe) as journal:
        for _, found in reader.found(journal):
            assert isinstance(found, Inspection | ImageRejectedError)


_IMAGES = {"*.h5": either(byte_edits, hdf5_edits("images"), hdf5_edits("images"))}
_SHARDS = {"store.h5": either(byte_edits, hdf5_edits("shards"), hdf5_edits("shards")), **_IMAGES}
_TOKENS = {"*.h5": either(byte_edits, hdf5_edits("tokens"), hdf5_edits("tokens"))}

READERS = [
    Reader("stores.classes", _write_classes, _read_store, _IMAGES),
    Reader("stores.boxes", _write_boxes, _read_store, _IMAGES),
    Reader("stores.masks", _write_masks, _read_store, _IMAGES),
    Reader("stores.shards", _write_shards, _read_store, _SHARDS),
    Reader("stores.tokens", _write_tokens, _read_tokens, _TOKENS),
    Reader("stores.journal", _write_journal, _inspect, {"*": either(text_edits, byte_edits)}),
]
