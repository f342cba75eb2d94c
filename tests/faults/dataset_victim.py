"""Every dataset of this project that writes files, killed while it saves, and saved where nothing can be written.

    python dataset_victim.py PHOTOS WORK [SMALL_DISK]

A kill comes at the n-th time that a file gets its name: `partial` (half of it is there under its temporary name),
`before` or `after` the renaming. Each is a process of its own (a fork). Prints lines of JSON: after a kill `kind`,
`point`, `number`, whether it `exists`, which `content` it gives, and which after the `next` save; after a refused save
`kind`, `where`, `error`, `seconds` and `content`. SMALL_DISK is a file system that we may make read-only.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from kedro.io import AbstractDataset, DatasetError

from eightgig.core.files import sha256_of
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest, class_names
from eightgig.data.ingest.sources import open_source
from eightgig.data.store.content import StoreContent
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent
from eightgig.datasets.engine import EngineDataset
from eightgig.datasets.files import OnnxDataset, TextDataset
from eightgig.datasets.folder import FolderDataset
from eightgig.datasets.media import FigureDataset, FilmDataset, ImageDataset, PageDataset
from eightgig.datasets.results import RecordDataset, TableDataset
from eightgig.datasets.stores import RawImagesDataset, StoreDataset, TokenStoreDataset
from eightgig.datasets.weights import Weights, WeightsDataset
from eightgig.export.tensorrt.manifest import sealed
from eightgig.export.tensorrt.records import Engine, EngineManifest, EngineRequest
from eightgig.models.cards import ImageCard
from eightgig.report.page import Page
from eightgig.tasks.text.sources import RawTexts

PHOTOS, WORK = Path(sys.argv[1]), Path(sys.argv[2])
NUMBERS = {"old": 1, "new": 2}
TOKENIZER = train_bpe(["a"], vocab_size=257)


def weights(number: int) -> Weights:
    card = ImageCard(
        model="timm/x",
        started_from="nothing",
        classes=("a", "b"),
        image_size=8,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        best_epoch=number,
        val_score=0.5,
        num_parameters=4,
        eightgig_version="0",
        torch_version="2",
        trained_on="test",
    )
    return Weights({"w": torch.full((4,), float(number))}, card)


def engine(number: int) -> Engine:
    plan = f"engine {number}".encode()
    manifest = EngineManifest(
        toolkit="tensorrt_rtx",
        toolkit_version="1",
        precision="fp16",
        exempt_nodes=(),
        unproven_nodes=(),
        changed_nodes={},
        layers=(),
        compute_capability=(8, 6),
        gpu=None,
        driver=None,
        platform="Linux x86_64",
        onnx_sha256="0",
        plan_sha256=sha256_of(plan),
        inputs=(),
        outputs=(),
        request=EngineRequest(),
        build_seconds=float(number),
        eightgig_version="0",
    )
    return Engine(plan, sealed(manifest))


def images(number: int) -> StoreContent:
    root = PHOTOS / {1: "old", 2: "new"}[number]
    parameters = DataParameters(root=str(root))
    manifest, _ = build_manifest(scan_class_folders(root), parameters)
    return StoreContent(manifest, root, class_names(manifest), parameters)


def tokens(number: int) -> TokenContent:
    ids = [[number] * 3] * 4
    return TokenContent(ids, [0] * 4, None, [1] * 4, ["p"] * 4, ("a",), TOKENIZER, 257, 3)


def identity(value: Any) -> Any:
    return value


Make = Callable[[str], AbstractDataset]
Content = Callable[[int], Any]
Look = Callable[[Any], Any]
KINDS: dict[str, tuple[str, Make, Content, Look]] = {
    "table": (
        "f.csv",
        lambda path: TableDataset(filepath=path),
        lambda number: pd.DataFrame({"row": range(number * 50)}),
        lambda table: table["row"].tolist(),
    ),
    "figure": (
        "f.plotly.json",
        lambda path: FigureDataset(filepath=path),
        lambda number: go.Figure(go.Scatter(y=list(range(number)))),
        lambda figure: figure.to_json(),
    ),
    "record": (
        "f.json",
        lambda path: RecordDataset(filepath=path, record="eightgig.tasks.text.sources.RawTexts"),
        lambda number: RawTexts(layout="files", root=str(number), origin="x"),
        lambda record: record.root,
    ),
    "text": ("f.txt", lambda path: TextDataset(filepath=path), lambda number: f"text {number}", identity),
    "page": (
        "f.html",
        lambda path: PageDataset(filepath=path),
        lambda number: Page(f"page {number}", "", headline=[], sections=[]),
        identity,
    ),
    "onnx": ("f.onnx", lambda path: OnnxDataset(filepath=path), lambda number: bytes(range(number * 9)), identity),
    "image": (
        "f.png",
        lambda path: ImageDataset(filepath=path),
        lambda number: np.full((8, 8, 3), number, np.uint8),
        lambda array: array.tolist(),
    ),
    "film": (
        "f.gif",
        lambda path: FilmDataset(filepath=path),
        lambda number: (np.full((2, 8, 8, 3), number * 90, np.uint8), 4.0),
        identity,
    ),
    "weights": (
        "f.safetensors",
        lambda path: WeightsDataset(filepath=path),
        weights,
        lambda loaded: (loaded.card.best_epoch, loaded.state["w"].tolist()),
    ),
    "engine": (
        "f.engine",
        lambda path: EngineDataset(filepath=path),
        engine,
        lambda loaded: (loaded.plan, loaded.manifest.build_seconds) if isinstance(loaded, Engine) else loaded,
    ),
    "store": ("f.h5", lambda path: StoreDataset(filepath=path), images, lambda store: (store.verify(), store.sha256)),
    "tokens": ("f.h5", lambda path: TokenStoreDataset(filepath=path), tokens, lambda store: store.sha256),
    "folder": (
        "f",
        lambda path: FolderDataset(
            filepath=path, dataset="eightgig.datasets.weights.WeightsDataset", suffix=".safetensors"
        ),
        lambda number: {"one": weights(number), "two": weights(number)},
        lambda loaded: {name: (each.card.best_epoch, each.state["w"].tolist()) for name, each in loaded.items()},
    ),
    "raw": (
        "raw.json",
        lambda path: RawImagesDataset(filepath=path),
        lambda number: open_source(DataParameters(root=str(PHOTOS / str(number)))),
        lambda raw: raw.root,
    ),
}


class Kind:
    """One dataset with an older and a newer content."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file, self._make, content, self._look = KINDS[name]
        self.contents = {which: content(number) for which, number in NUMBERS.items()}
        self._seen: dict[str, Any] = {}
        for which in NUMBERS:
            path = WORK / name / which / self.file
            with counted_renames() as renamed:
                self.save(path, which)
            self.num_renamed = len(renamed)
            self._seen[which] = self._look(self._make(str(path)).load())

    def save(self, path: Path, which: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._make(str(path)).save(self.contents[which])

    def exists(self, path: Path) -> bool:
        return self._make(str(path)).exists()

    def content(self, path: Path) -> str:
        try:
            loaded = self._look(self._make(str(path)).load())
        except (DatasetError, OSError) as error:
            return f"none: {error}"
        return next((which for which, seen in self._seen.items() if seen == loaded), "neither")


def killed_saves(kind: Kind) -> Iterator[dict]:
    numbers = range(1, kind.num_renamed + 1, 3 if kind.name == "folder" else 1)  # a folder saves two pairs of weights
    for point, number in product(("partial", "before", "after"), numbers):
        path = WORK / kind.name / f"{point}-{number}" / kind.file
        kind.save(path, "old")
        save_and_be_killed(partial(kind.save, path, "new"), point, number)
        found = {"kind": kind.name, "point": point, "number": number}
        found |= {"exists": kind.exists(path), "content": kind.content(path)}
        kind.save(path, "new")
        yield {**found, "next": kind.content(path)}


def save_and_be_killed(save: Callable[[], None], point: str, number: int) -> None:
    process = os.fork()
    if not process:
        real, calls = Path.replace, count(1)

        def replace(self: Path, target: Path) -> Path:
            if next(calls) != number:
                return real(self, target)
            if point == "partial" and self.is_file():
                os.truncate(self, self.stat().st_size // 2)
            if point == "after":
                real(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
            return target

        Path.replace = replace  # type: ignore[assignment]
        save()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@contextmanager
def counted_renames() -> Iterator[list[Path]]:
    real, renamed = Path.replace, list[Path]()

    def replace(self: Path, target: Path) -> Path:
        renamed.append(self)
        return real(self, target)

    Path.replace = replace  # type: ignore[assignment]
    yield renamed
    Path.replace = real


def refused_save(kind: Kind, path: Path, where: str) -> dict:
    begun = time.perf_counter()
    try:
        kind._make(str(path)).save(kind.contents["new"])
        error = ""
    except (DatasetError, OSError) as refusal:
        error = str(refusal)
    found = {"kind": kind.name, "where": where, "error": error, "seconds": time.perf_counter() - begun}
    return {**found, "content": kind.content(path)}


def refused_saves(kinds: list[Kind], small_disk: Path | None) -> Iterator[dict]:
    (WORK / "file").touch()
    for kind in kinds:
        yield refused_save(kind, WORK / "file" / kind.name / kind.file, "a file in the place of a folder")
    if small_disk is None:
        return
    for kind in kinds:
        kind.save(small_disk / kind.name / kind.file, "old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for kind in kinds:
        yield refused_save(kind, small_disk / kind.name / kind.file, "a read-only disk")


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # what is shared with the forks stays shared
    every = [Kind(name) for name in KINDS]
    for each in every:
        for result in killed_saves(each):
            sys.stdout.write(json.dumps(result) + "\n")
    for result in refused_saves(every, Path(sys.argv[3]) if sys.argv[3:] else None):
        sys.stdout.write(json.dumps(result) + "\n")
