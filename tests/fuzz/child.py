"""The process that reads hostile files: it measures what each one costs, and judges what comes out.

child.py --serve MODULE...       answers requests on its standard input: ["read", reader, folder]
child.py READER FOLDER           reads one input alone, in the foreground, and says what became of it
"""

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # what tests share, under the name it has for them

from tests.fuzz.harness import Prediction, Reader
from tests.fuzz.readers import MODULES

_MIB = 2**20
_CLUTTER_OF = 200  # inputs, after which rubbish is collected
_OUT_OF_MEMORY = (
    *("unable to allocate", "can't allocate memory", "not enough memory", "allocation failed", "bad_alloc"),
    "out of memory",
)
_GENERIC = "Failed while loading data from dataset"  # Kedro's words for any error of a dataset


def readers_of(modules: Iterable[str]) -> dict[str, Reader]:
    return {reader.name: reader for module in modules for reader in import_module(module).READERS}


def serve(readers: dict[str, Reader]) -> None:
    """Answer on what was the standard output, which the libraries that read may write to."""
    predictions = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for number, line in enumerate(sys.stdin):
        what, name, folder = json.loads(line)
        answer = {"write": write, "begin": begin, "read": read}[what](readers[name], Path(folder))
        predictions.write(json.dumps(answer) + "\n")
        predictions.flush()
        if number % _CLUTTER_OF == 0:
            gc.collect()


def write(reader: Reader, folder: Path) -> Prediction:
    try:
        reader.write(folder)
    except Exception:  # noqa: BLE001 - whatever it is, the test says so
        return Prediction("failed", traceback.format_exc(), 0.0, 0.0)
    return Prediction("read", "", 0.0, 0.0)


def begin(reader: Reader, folder: Path) -> Prediction:
    """Read the valid files twice: libraries are loaded and caches filled before anything is measured."""
    for seed in sorted(folder.iterdir()) * 2:
        answer = read(reader, seed, is_limited=False)
        if answer.outcome != "read":
            return Prediction("failed", f"a valid file is refused: {answer.detail}", 0.0, 0.0)
    return answer


def read(reader: Reader, folder: Path, *, is_limited: bool = True) -> Prediction:
    """Read one input, with a limit on what it may ask for."""
    limit = _address_space() + (reader.asked_mib or reader.memory_mib) * _MIB if is_limited else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    _forget_peak()
    before, start = _status("VmRSS"), time.process_time()
    fault = ""
    try:
        reader.read(folder)
        outcome, detail = "read", ""
    except BaseException as error:  # noqa: BLE001 - also what Rust panics with
        outcome, detail, fault = "refused", str(error), judge(reader, error, folder)
    seconds, memory_mib = time.process_time() - start, (_status("VmHWM") - before) / 1024
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if is_limited:
        fault = fault or _excess(reader, seconds, memory_mib)
    return (
        Prediction("failed", fault, seconds, memory_mib) if fault else Prediction(outcome, detail, seconds, memory_mib)
    )


def judge(reader: Reader, error: BaseException, folder: Path) -> str:
    """Return what is wrong with an error; nothing where it is one of this project's own and says what it should."""
    from kedro.io import DatasetError

    from eightgig.core.errors import EightgigError

    text = str(error)
    trace = "".join(traceback.format_exception(error))[-6_000:]
    if any(isinstance(one, MemoryError) or _is_about_memory(one) for one in _chain(error)):
        return f"asks for more than {reader.asked_mib or reader.memory_mib} MiB of memory\n{trace}"
    wrapped = isinstance(error, DatasetError) and _GENERIC in text and not isinstance(error.__cause__, EightgigError)
    if wrapped or not isinstance(error, EightgigError | DatasetError):
        return f"lets {type(error.__cause__ if wrapped else error).__name__} through\n{trace}"
    if reader.names_file and not _names_file(text, folder):
        return f"does not name the file in its error\n{trace}"
    return ""


def _excess(reader: Reader, seconds: float, memory_mib: float) -> str:
    if seconds > reader.seconds:
        return f"takes {seconds:.1f} s, at most {reader.seconds:g} are allowed"
    if memory_mib > reader.memory_mib:
        return f"takes {memory_mib:.0f} MiB, at most {reader.memory_mib} are allowed"
    return ""


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_about_memory(error: BaseException) -> bool:
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _names_file(text: str, folder: Path) -> bool:
    return str(folder) in text or any(path.name in text for path in folder.rglob("*") if path.is_file())


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Return a figure of this process in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def main(arguments: list[str]) -> Any:
    if arguments[0] == "--serve":
        return serve(readers_of(arguments[1:]))
    reader = readers_of(MODULES)[arguments[0]]
    answer = read(reader, Path(arguments[1]), is_limited=False)
    return print(f"{answer.outcome} in {answer.seconds:.3f} s, {answer.memory_mib:.0f} MiB: {answer.detail}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
