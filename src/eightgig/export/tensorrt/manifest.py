"""Whether an engine is the one that is wanted here, whole and unchanged."""

import json
from collections.abc import Iterator

from pydantic import ValidationError

from eightgig.core.errors import ExportError
from eightgig.core.files import sha256_of
from eightgig.export.tensorrt.machine import EngineMachine
from eightgig.export.tensorrt.records import Engine, EngineManifest, EngineRequest
from eightgig.export.tensorrt.toolkit import Toolkit

_REBUILD = "Build the engine again from its ONNX file."


def sealed(manifest: EngineManifest) -> EngineManifest:
    """Return the manifest with the seal over its other fields."""
    return manifest.model_copy(update={"seal": seal_of(manifest)})


def seal_of(manifest: EngineManifest) -> str:
    """Return the SHA-256 over all fields but the seal, in one fixed form."""
    fields = manifest.model_dump(mode="json", exclude={"seal"})
    return sha256_of(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode("utf-8"))


def parse_manifest(text: str) -> EngineManifest:
    """Return the manifest as it was written.

    Raises:
        ExportError: it is not JSON, has other fields than this version writes, or was changed after it was sealed.
    """
    try:
        manifest = EngineManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ExportError(
            f"wanted an engine's manifest as this version writes it, found {where}: {first['msg']}. {_REBUILD}"
        ) from error
    if manifest.seal != seal_of(manifest):
        raise ExportError(
            f"the engine's manifest was edited: wanted the seal {seal_of(manifest)[:12]}, found "
            f"{manifest.seal[:12] or 'none'}. {_REBUILD}"
        )
    return manifest


def check_plan(engine: Engine) -> None:
    """Refuse an engine whose manifest was edited, or whose plan is not the one that it vouches for. ExportError."""
    parse_manifest(engine.manifest.model_dump_json())
    found = sha256_of(engine.plan)
    if found != engine.manifest.plan_sha256:
        raise ExportError(
            f"the engine is damaged or was replaced: plan_sha256 wanted {engine.manifest.plan_sha256[:12]}, found "
            f"{found[:12]} in {len(engine.plan)} bytes. {_REBUILD}"
        )


def check_engine(
    engine: Engine,
    *,
    toolkit: Toolkit,
    machine: EngineMachine,
    onnx_file: bytes | None = None,
    request: EngineRequest | None = None,
) -> None:
    """Refuse an engine that is not what is wanted, or not for here.

    What this machine cannot tell (no GPU: its card, driver and compute capability) is not compared; the seal vouches.

    Args:
        engine: with its manifest.
        toolkit: that would run it.
        machine: that would run it.
        onnx_file: that it should be made from; not compared when None.
        request: that it should answer; not compared when None.

    Raises:
        ExportError: names every field that differs, with both values.
    """
    check_plan(engine)
    wanted = _wanted(engine.manifest, toolkit, machine)
    if onnx_file is not None:
        wanted["onnx_sha256"] = sha256_of(onnx_file)
    if request is not None:
        wanted["request"] = request
    different = list(_differences(engine.manifest, wanted))
    if different:
        raise ExportError(f"the engine is for something else: {'; '.join(different)}. {_REBUILD}")


def _wanted(manifest: EngineManifest, toolkit: Toolkit, machine: EngineMachine) -> dict[str, object]:
    wanted: dict[str, object] = {"toolkit": toolkit.name, "toolkit_version": toolkit.version}
    wanted["platform"] = machine.platform
    if machine.compute_capability is not None:
        wanted["compute_capability"] = machine.compute_capability
        # An engine that was built without a card is for all cards of its compute capability, with any driver.
        wanted |= {} if manifest.gpu is None else {"gpu": machine.gpu}
        wanted |= {} if manifest.driver is None else {"driver": machine.driver}
    return wanted


def _differences(manifest: EngineManifest, wanted: dict[str, object]) -> Iterator[str]:
    for field, value in wanted.items():
        found = getattr(manifest, field)
        if found != value:
            yield f"{field} wanted {value}, found {found}"
