"""Engines as files: `NAME.engine`, and beside it `NAME.manifest.json`, which vouches for it."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from eightgig.core.errors import ExportError
from eightgig.core.files import read_checksums, write_checksummed
from eightgig.export.tensorrt.builder import build_engine
from eightgig.export.tensorrt.machine import this_machine
from eightgig.export.tensorrt.manifest import check_engine, check_plan, parse_manifest
from eightgig.export.tensorrt.records import Engine, EngineRequest, ToolkitChoice, UnusableEngine
from eightgig.export.tensorrt.toolkit import find_toolkit


class ReadyEngine(NamedTuple):
    """An engine, and why it had to be built: empty where the one that was found is right."""

    engine: Engine
    rebuilt_because: str


def manifest_path(engine_path: Path) -> Path:
    """Return where the manifest of `NAME.engine` lies."""
    return engine_path.with_suffix(".manifest.json")


def write_engine(engine_path: Path, engine: Engine) -> None:
    """Write engine and manifest; a run that is killed meanwhile leaves the older two or the newer two."""
    write_checksummed(
        engine_path, engine.plan, manifest_path(engine_path), engine.manifest.model_dump_json(indent=2) + "\n"
    )


def read_engine(engine_path: Path) -> Engine:
    """Return the engine as it was written.

    Raises:
        ExportError: one of the two files is missing, damaged, edited or of another version.
    """
    try:
        plan = engine_path.read_bytes()
        present, *waiting = read_checksums(manifest_path(engine_path))
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ExportError(
            f"wanted {engine_path} with its {manifest_path(engine_path).name}, found no such pair ({error}). "
            "Build the engine again from its ONNX file."
        ) from error
    for text in waiting:
        with suppress(ExportError):
            return _checked(plan, text)
    try:
        return _checked(plan, present)
    except ExportError as error:
        raise ExportError(f"{engine_path}: {error}") from error


def _checked(plan: bytes, manifest: str) -> Engine:
    engine = Engine(plan, parse_manifest(manifest))
    check_plan(engine)
    return engine


def ready_engine(
    found: Engine | UnusableEngine,
    onnx_file: bytes,
    request: EngineRequest,
    *,
    claimed: str | None = None,
    choice: ToolkitChoice = "auto",
) -> ReadyEngine:
    """Return the engine that was found where it is the one that is wanted here, and otherwise a new one.

    A damaged, edited or foreign engine is never used and never ends a run: it is built again, and the reason is given.

    Raises:
        ExportError: it does not fit and none can be built, see `build_engine`.
    """
    toolkit = find_toolkit(choice)
    try:
        if isinstance(found, UnusableEngine):
            raise ExportError(found.reason)
        check_engine(found, toolkit=toolkit, machine=this_machine(), onnx_file=onnx_file, request=request)
        _check_claim(found, claimed)
        return ReadyEngine(found, "")
    except ExportError as refusal:
        reason = str(refusal)
    return ReadyEngine(build_engine(onnx_file, request, claimed=claimed, choice=toolkit.name), reason)


def _check_claim(engine: Engine, claimed: str | None) -> None:
    if claimed not in (None, engine.manifest.precision):
        raise ExportError(f"wanted an engine in {claimed}, found {engine.manifest.precision}")
