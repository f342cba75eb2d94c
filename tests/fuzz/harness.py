"""Hostile files for every reader: made from valid ones, read in a child process that may crash, hang or run out.

A reader is declared once (`readers/`): how valid files of its kind are written, how they are read, which edits make
hostile ones. `Fuzzer.run` draws inputs and lets the child read them. An input passes when it is read, or refused with
one of this project's own errors, within time and memory. What fails stays on the disk, and is read again by

    .venv/bin/python tests/fuzz/child.py READER FOLDER
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz.edits import Edits, Strategy, apply_all, byte_edits

Files = dict[str, bytes]
"""By their path below the folder that is read."""

NUM_INPUTS = int(os.environ.get("EIGHTGIG_FUZZ_INPUTS", "40"))
CHILD = Path(__file__).with_name("child.py")
_HANGS_AFTER_S = 30.0  # by the clock, on a machine where others work too; the child itself counts its own time
_ENDS_WITHIN_S = 10.0
_STARTS_WITHIN_S = 300.0


@dataclass(frozen=True)
class Reader:
    """One reader of foreign files.

    Attributes:
        name: area and kind, as `images.png`.
        write: writes valid files below a folder, one sub-folder a seed.
        read: reads the files of one folder; nothing but this project's errors may come out.
        edits: by the pattern of a file's name, how it is made hostile; the first that fits. Others stay as they are.
        seal: makes checksums right again after an edit, as whoever means harm would; half of the inputs are sealed.
        names_file: whether an error must name the file or its folder; errors about one image of many need not.
        memory_mib: that reading may take above what the process has.
        asked_mib: that it may ask the system for, which is more where a library asks for what it then does not use;
            None is `memory_mib`.
        seconds: of the processor, that reading may take.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    edits: Mapping[str, Strategy] = field(default_factory=lambda: {"*": byte_edits})
    seal: Callable[[Files], None] | None = None
    names_file: bool = True
    memory_mib: int = 256
    asked_mib: int | None = None
    seconds: float = 3.0

    def strategy(self, path: str) -> Strategy | None:
        """Return how a file is made hostile; None leaves it as it is."""
        return next((edits for pattern, edits in self.edits.items() if fnmatch(path, pattern)), None)


class Input(NamedTuple):
    """What is read: a seed with one of its files edited."""

    seed: int
    file: str
    edits: Edits
    is_sealed: bool


class Prediction(NamedTuple):
    """What became of an input in the child."""

    outcome: str
    detail: str
    seconds: float
    memory_mib: float


@dataclass
class Tally:
    """How a reader did: for the table at the end."""

    reader: str
    num_inputs: int = 0
    num_read: int = 0
    num_refused: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    largest_mib: float = 0.0

    def add(self, answer: Prediction) -> None:
        self.num_inputs += 1
        self.num_read += answer.outcome == "read"
        self.num_refused += answer.outcome == "refused"
        self.seconds += answer.seconds
        self.slowest_seconds = max(self.slowest_seconds, answer.seconds)
        self.largest_mib = max(self.largest_mib, answer.memory_mib)


class Child:
    """The process that reads, started when it is needed and again after it died.

    Args:
        folder: for its log.
        modules: with the declarations; each has `READERS`.
    """

    def __init__(self, folder: Path, modules: Sequence[str]) -> None:
        self._log, self._modules = folder / "child.log", tuple(modules)
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, what: str, reader: str, folder: Path, *, within_s: float = _STARTS_WITHIN_S) -> Prediction:
        """Let it do `what`; its death and its silence are answers too."""
        process = self._running()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([what, reader, str(folder)]).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], within_s)
        line = process.stdout.readline() if ready else b""
        if line:
            return Prediction(*json.loads(line))
        return self._buried(f"hangs: no answer within {within_s:g} s" if not ready else "crashes")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            command = [sys.executable, str(CHILD), "--serve", *self._modules]
            pipe = subprocess.PIPE
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(command, stderr=log, env=_environment(), stdin=pipe, stdout=pipe)
        return self._process

    def _buried(self, what: str) -> Prediction:
        """Return how it died, and where it was by its own traceback."""
        assert self._process
        self._process.send_signal(signal.SIGABRT)  # one that hangs writes its traceback and dies
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_WITHIN_S)
        code = self._process.poll()
        self.close()
        last_words = self._log.read_bytes()[-3_000:].decode("utf-8", "replace")
        return Prediction("failed", f"{what} (exit status {code}); the end of its log:\n{last_words}", 0.0, 0.0)


class Fuzzer:
    """Draws inputs and has them read.

    Args:
        folder: where seeds and inputs are written.
        modules: with the readers' declarations, by name.
        hangs_after_s: seconds by the clock without an answer.
    """

    def __init__(self, folder: Path, modules: Sequence[str], hangs_after_s: float = _HANGS_AFTER_S) -> None:
        self._folder, self._child, self._hangs_after_s = folder, Child(folder, modules), hangs_after_s
        self._number = 0

    def run(self, reader: Reader, num_inputs: int) -> Tally:
        """Read `num_inputs` hostile files, the same ones each time.

        Raises:
            AssertionError: one of them, which is named, made the reader fail; or a valid file was not read.
        """
        seeds = self._seeds(reader)
        tally = Tally(reader.name)

        @settings(
            max_examples=num_inputs,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # an input is small as it is, and making it smaller would crash a child each time
            suppress_health_check=list(HealthCheck),
        )
        @given(_inputs(reader, seeds))
        def each(hostile: Input) -> None:
            tally.add(self._read(reader, seeds, hostile))

        each()
        return tally

    def close(self) -> None:
        self._child.close()

    def _seeds(self, reader: Reader) -> list[Files]:
        """Have the valid files written, and read: a reader that refuses these would pass any test."""
        folder = self._folder / "seeds" / reader.name
        folder.mkdir(parents=True)
        self._require(reader, self._child.ask("write", reader.name, folder), "writing valid files", folder)
        seeds = [_files_below(seed) for seed in sorted(folder.iterdir())]
        self._require(reader, self._child.ask("begin", reader.name, folder), "reading valid files", folder)
        return seeds

    def _read(self, reader: Reader, seeds: list[Files], hostile: Input) -> Prediction:
        self._number += 1
        folder = self._folder / f"{reader.name}-{self._number}"
        for name, content in edited(reader, seeds, hostile).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        answer = self._child.ask("read", reader.name, folder, within_s=self._hangs_after_s)
        self._require(reader, answer, repr(hostile), folder)
        shutil.rmtree(folder)
        return answer

    def _require(self, reader: Reader, answer: Prediction, what: str, folder: Path) -> None:
        if answer.outcome == "failed":
            raise AssertionError(
                f"{reader.name}: {answer.detail}\ninput: {what}\nits files: {folder}\n"
                f"read it again: {sys.executable} {CHILD} {reader.name} {folder}"
            )


def edited(reader: Reader, seeds: Sequence[Files], hostile: Input) -> Files:
    """Return the files that an input stands for."""
    files = dict(seeds[hostile.seed])
    others = [seed[hostile.file] for seed in seeds if hostile.file in seed]
    files[hostile.file] = apply_all(hostile.edits, files[hostile.file], others)
    if hostile.is_sealed and reader.seal is not None:
        with suppress(Exception):  # what was to be sealed is not there any more
            reader.seal(files)
    return files


def _inputs(reader: Reader, seeds: Sequence[Files]) -> st.SearchStrategy[Input]:
    choices = [
        st.builds(Input, st.just(number), st.just(path), strategy(content), st.booleans())
        for number, files in enumerate(seeds)
        for path, content in files.items()
        if (strategy := reader.strategy(path)) is not None
    ]
    return st.one_of(*choices)


def _files_below(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _environment() -> dict[str, Any]:
    """One thread, one arena (address space is counted), and no network."""
    alone = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "VIPS_CONCURRENCY": "1", "PYTHONFAULTHANDLER": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    return {**os.environ, **alone, **offline}
