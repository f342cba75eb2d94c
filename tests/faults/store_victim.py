"""Stores that are written in processes which are killed, or whose disk fills up.

    python store_victim.py '[{"task": "tokens", "path": "...", "kill_at_write": 3}, ...]'

What is heavy is imported once; each case with a fault is a process of its own (a fork), which ends as any other would:
by its own exit, or by the signal that killed it. Prints a line of JSON a case: exit code, all that was printed, the
files that are left, and which content can be read.

A case has `task` (images, tokens or probabilities), `path`, `content` (old or new), and one fault or none:
    kill_at_row     SIGKILL after so many images
    kill_at_write   SIGKILL instead of HDF5's n-th write
    full_at_row     no room after so many images; `full_before`: from the start; `full_after_check`;
                    `full_before_index`: when HDF5 begins to write
    hold_at_row, hold_at_write   says `writing PID` and waits for a line
How there is no room: `limit` bytes a file may have (RLIMIT_FSIZE), or without it the disk that `path` is on is filled.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from eightgig.core.errors import StoreError
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store import files as hdf5_files
from eightgig.data.store import tokens as token_store
from eightgig.data.store import writer as store_writer
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.tasks.segmentation.tiled import probabilities
from eightgig.tasks.segmentation.tiled.probabilities import open_probabilities

REFUSED = 3
SIDE = 200


def main(cases: list[dict]) -> None:
    for case in cases:
        if case.keys() <= {"task", "path", "content"}:
            WRITERS[case["task"]](Path(case["path"]), case.get("content", "new"), lambda *_: None)
            tell(json.dumps(seen(case)))
        else:
            tell(json.dumps({**run(case), **seen(case)}))


def tell(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(case: dict) -> dict:
    """Write the store in a process of its own."""
    ours, its = os.pipe()
    process = os.fork()
    if not process:
        if not any(name.startswith("hold") for name in case):
            os.dup2(its, 1)
        os.dup2(its, 2)
        write(case)  # leaves by sys.exit, so that the interpreter is taken down as always
    os.close(its)
    with os.fdopen(ours) as pipe:
        told = pipe.read()
    _, status = os.waitpid(process, 0)
    filler(case).unlink(missing_ok=True)
    return {"exit": os.waitstatus_to_exitcode(status), "told": told}


def write(case: dict) -> None:
    """Do one case and exit."""
    arrange(case)
    try:
        WRITERS[case["task"]](Path(case["path"]), case.get("content", "new"), at_row(case))
    except StoreError as error:
        tell(error)
        sys.exit(REFUSED)
    sys.exit(0)


def arrange(case: dict) -> None:
    """Put the fault where it is wanted."""
    if case.get("full_before"):
        leave_no_room(case, left=100_000)
    if case.get("full_after_check"):
        for module in (store_writer, token_store, probabilities):
            vars(module)["space_shortage"] = lambda *_, **__: leave_no_room(case)
    if case.get("full_before_index"):
        lay_out = store_writer._lay_out
        store_writer._lay_out = lambda *args: leave_no_room(case) or lay_out(*args)
    number = case.get("kill_at_write") or case.get("hold_at_write")
    if number:
        real, calls = hdf5_files._PatientFile.write, count(1)
        fault = die if "kill_at_write" in case else hold

        def at_write(self: object, data: memoryview) -> int:
            if next(calls) == number:
                fault()
            return real(self, data)  # type: ignore[arg-type]

        hdf5_files._PatientFile.write = at_write


def at_row(case: dict) -> Callable[[int, int], None]:
    """Return what is to happen after each image."""
    faults = {"kill_at_row": die, "hold_at_row": hold, "full_at_row": lambda: leave_no_room(case)}

    def progress(done: int, _: int) -> None:
        for name, fault in faults.items():
            if case.get(name) == done:
                fault()

    return progress


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold() -> None:
    tell(f"writing {os.getpid()}")
    sys.stdin.readline()


def leave_no_room(case: dict, left: int = 0) -> None:
    """Let no file grow beyond `limit` bytes, or fill the disk but for `left` bytes."""
    if limit := case.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return
    with filler(case).open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - left))


def filler(case: dict) -> Path:
    return Path(case["path"]).parent.with_name("filler")


def seen(case: dict) -> dict:
    """Tell what is left: the files beside the store, and which content can be read."""
    path, wanted = Path(case["path"]), WANTED[case["task"]]
    try:
        content = {digest: name for name, digest in wanted.items()}[READERS[case["task"]](path)] if wanted else None
    except StoreError as error:
        content = f"none: {error}"
    return {
        "files": sorted(each.name for each in path.parent.glob("*")) if path.parent.is_dir() else [],
        "content": content,
    }


def write_images(path: Path, content: str, progress: Callable[[int, int], None]) -> None:
    root, manifest, classes = IMAGES[content]
    write_store(path, manifest, root, classes, progress=progress)


def write_tokens(path: Path, content: str, _: Callable[[int, int], None]) -> None:
    random = np.random.default_rng(len(content) + ord(content[0]))
    TokenContent(
        tokens=[random.integers(0, 260, 1000) for _ in range(SIDE)],
        labels=[number % 2 for number in range(SIDE)],
        texts=[f"{content} text {number}" for number in range(SIDE)],
        num_bytes=[11] * SIDE,
        paths=[f"{number}.txt" for number in range(SIDE)],
        classes=("no", "yes"),
        tokenizer_json=TOKENIZER,
        vocab_size=260,
        max_tokens=1000,
    ).write(path)


def write_probabilities(path: Path, content: str, _: Callable[[int, int], None]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open_probabilities(path, ("a", "b", "c"), SIDE, SIDE) as file:
        for top in range(0, SIDE, 50):
            file.write(top, 0, np.random.default_rng(top).random((3, 50, SIDE)).astype(np.float16))


def read_images(path: Path) -> str:
    store = ImageStore(path)
    store.verify()
    return store.sha256


WRITERS = {"images": write_images, "tokens": write_tokens, "probabilities": write_probabilities}
READERS = {"images": read_images, "tokens": lambda path: TokenStore(path).sha256}


def contents(folder: Path) -> dict[str, dict[str, str]]:
    """Write each content once, and give its name by its hash."""
    found: dict[str, dict[str, str]] = {"images": {}, "tokens": {}, "probabilities": {}}
    for task, read in READERS.items():
        for name in ("old", "new"):
            WRITERS[task](folder / f"{task}-{name}.h5", name, lambda *_: None)
            found[task][name] = read(folder / f"{task}-{name}.h5")
    return found


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    TOKENIZER = train_bpe(["a small text"], vocab_size=260)
    IMAGES = {}
    for name in ("old", "new"):
        folders = scan_class_folders(Path(asked["photos"]) / name)
        manifest, _ = build_manifest(folders, DataParameters(root=str(folders.root)))
        IMAGES[name] = (folders.root, manifest, folders.classes)
    WANTED = contents(Path(asked["work"]))
    main(asked["cases"])
