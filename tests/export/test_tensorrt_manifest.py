"""An engine is used only where it is whole, unedited, and for this machine and file; otherwise it is built again."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eightgig.core.errors import ExportError
from eightgig.core.files import sha256_of
from eightgig.export.tensorrt import files
from eightgig.export.tensorrt.files import manifest_path, read_engine, ready_engine, write_engine
from eightgig.export.tensorrt.machine import EngineMachine
from eightgig.export.tensorrt.manifest import check_engine, parse_manifest, seal_of, sealed
from eightgig.export.tensorrt.records import BatchProfile, Engine, EngineManifest, EngineRequest, UnusableEngine
from eightgig.export.tensorrt.toolkit import Toolkit

LINUX = "Linux x86_64"
NO_GPU = EngineMachine(compute_capability=None, gpu=None, driver=None, platform=LINUX)
RTX_3070 = EngineMachine(compute_capability=(8, 6), gpu="RTX 3070", driver="580.1", platform=LINUX)
RTX_3060 = EngineMachine(compute_capability=(8, 6), gpu="RTX 3060", driver="580.1", platform=LINUX)
RTX_4070 = EngineMachine(compute_capability=(8, 9), gpu="RTX 4070", driver="580.1", platform=LINUX)


@pytest.fixture
def toolkit() -> Toolkit:
    module = ModuleType("tensorrt_rtx")
    module.__version__ = "1.7.1.116"  # type: ignore[attr-defined]
    return Toolkit("tensorrt_rtx", module)


LAYER = {"name": "a", "layer_type": "gemm", "inputs": [], "constants": [], "outputs": [], "onnx_layers": []} | {
    "is_matrix": True,
    "precision": "fp16",
}
TENSOR = {"name": "images", "dtype": "float32", "shape": [1]}
ONNX_FILE, PLAN = b"an ONNX file", b"a serialized engine"


def make_engine(**changes: Any) -> Engine:
    """A sealed engine for all cards of 8.6; `changes` are made before it is sealed."""
    fields: dict[str, Any] = {
        "toolkit": "tensorrt_rtx",
        "toolkit_version": "1.7.1.116",
        "precision": "fp16",
        "exempt_nodes": (),
        "unproven_nodes": (),
        "changed_nodes": {},
        "layers": (),
        "compute_capability": (8, 6),
        "gpu": None,
        "driver": None,
        "platform": LINUX,
        "onnx_sha256": sha256_of(ONNX_FILE),
        "plan_sha256": sha256_of(PLAN),
        "inputs": (),
        "outputs": (),
        "request": EngineRequest(),
        "build_seconds": 1.25,
        "eightgig_version": "0.1.0",
    }
    return Engine(PLAN, sealed(EngineManifest(**fields | changes)))


def test_an_engine_comes_back_as_it_was_written(tmp_path: Path, toolkit: Toolkit) -> None:
    write_engine(tmp_path / "fp16.engine", make_engine())
    engine = read_engine(tmp_path / "fp16.engine")
    assert engine == make_engine()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp16.engine", "fp16.manifest.json"]
    for machine in (NO_GPU, RTX_3070, RTX_3060):  # built without a card, it is for all of that capability
        check_engine(engine, toolkit=toolkit, machine=machine, onnx_file=ONNX_FILE, request=EngineRequest())


@pytest.mark.parametrize("field", sorted(set(EngineManifest.model_fields) - {"seal"}))
def test_every_edited_field_breaks_the_seal(field: str) -> None:
    """Also those that no machine could compare."""
    written = json.loads(make_engine(gpu="RTX 3070", driver="580.1").manifest.model_dump_json())
    value = written[field]
    edited: dict[str, Any] = {"toolkit": "tensorrt", "compute_capability": [8, 9], "request": {"allows_tf32": True}}
    edited["changed_nodes"] = {"/a/Conv": "fp16"}
    if field in edited:
        written[field] = edited[field]
    elif isinstance(value, list):
        written[field] = {"layers": [LAYER], "inputs": [TENSOR], "outputs": [TENSOR]}.get(field, ["/a/Conv"])
    else:
        written[field] = value + 1 if isinstance(value, float) else value + "0"
    with pytest.raises(
        ExportError, match=r"manifest was edited: wanted the seal \w{12}, found \w{12}\. Build the engine"
    ):
        parse_manifest(json.dumps(written))


def test_a_manifest_without_its_seal_is_refused() -> None:
    unsealed = make_engine().manifest.model_copy(update={"seal": ""})
    with pytest.raises(ExportError, match=r"manifest was edited: wanted the seal .*, found none"):
        parse_manifest(unsealed.model_dump_json())
    assert seal_of(unsealed) == make_engine().manifest.seal


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "the file: Invalid JSON"),
        ('{"toolkit": "tens', "the file: Invalid JSON"),
        ("[]", "the file: Input should be an object"),
        ('{"colour": 3}', "toolkit: Field required"),
        (make_engine().manifest.model_dump_json()[:-1] + ', "colour": 3}', "colour: Extra inputs are not permitted"),
    ],
)
def test_a_manifest_in_another_form_is_refused(text: str, found: str) -> None:
    with pytest.raises(ExportError, match=f"wanted an engine's manifest as this version writes it, found {found}"):
        parse_manifest(text)


def test_a_truncated_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fp16.engine"
    write_engine(path, make_engine())
    path.write_bytes(PLAN[:-3])
    with pytest.raises(
        ExportError, match=r"fp16.engine: the engine is damaged or was replaced: plan_sha256 wanted .* in 16 bytes"
    ):
        read_engine(path)


def test_an_engine_without_its_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fp16.engine"
    write_engine(path, make_engine())
    manifest_path(path).unlink()
    with pytest.raises(ExportError, match=r"wanted .*fp16.engine with its fp16.manifest.json, found no such pair"):
        read_engine(path)


@pytest.mark.parametrize(
    ("changes", "machine", "told"),
    [
        ({"toolkit_version": "1.6.0"}, NO_GPU, "toolkit_version wanted 1.7.1.116, found 1.6.0"),
        ({"toolkit": "tensorrt"}, NO_GPU, "toolkit wanted tensorrt_rtx, found tensorrt"),
        ({"platform": "Windows AMD64"}, NO_GPU, "platform wanted Linux x86_64, found Windows AMD64"),
        ({}, RTX_4070, r"compute_capability wanted \(8, 9\), found \(8, 6\)"),
        ({"gpu": "RTX 3070"}, RTX_3060, "gpu wanted RTX 3060, found RTX 3070"),
        ({"driver": "570.2"}, RTX_3070, "driver wanted 580.1, found 570.2"),
        ({"onnx_sha256": "0" * 64}, NO_GPU, "onnx_sha256 wanted [0-9a-f]{64}, found 0{64}"),
        ({"request": EngineRequest(batch=BatchProfile(largest=4))}, NO_GPU, "request wanted .*largest=8.*largest=4"),
    ],
)
def test_an_engine_for_something_else_is_refused(
    changes: dict[str, Any], machine: EngineMachine, told: str, toolkit: Toolkit
) -> None:
    with pytest.raises(ExportError, match=f"the engine is for something else: {told}.*Build the engine again"):
        check_engine(
            make_engine(**changes), toolkit=toolkit, machine=machine, onnx_file=ONNX_FILE, request=EngineRequest()
        )


def test_all_differences_are_named_at_once(toolkit: Toolkit) -> None:
    engine = make_engine(toolkit_version="1.6.0", driver="570.2", gpu="RTX 3070")
    with pytest.raises(ExportError, match=r"toolkit_version wanted .*; gpu wanted RTX 3060.*; driver wanted 580.1"):
        check_engine(engine, toolkit=toolkit, machine=RTX_3060)


def test_what_a_machine_without_a_gpu_cannot_tell_is_not_compared(toolkit: Toolkit) -> None:
    check_engine(make_engine(gpu="RTX 3070", driver="580.1"), toolkit=toolkit, machine=NO_GPU)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, toolkit: Toolkit) -> list[str | None]:
    """What was built, by its claim; the builder itself is tested elsewhere."""
    built: list[str | None] = []

    def build(onnx_file: bytes, request: EngineRequest, *, claimed: str | None, **_: Any) -> Engine:
        built.append(claimed)
        return make_engine(onnx_sha256=sha256_of(onnx_file), request=request, precision=claimed or "fp16")

    monkeypatch.setattr(files, "build_engine", build)
    monkeypatch.setattr(files, "find_toolkit", lambda _: toolkit)
    monkeypatch.setattr(files, "this_machine", lambda: NO_GPU)
    return built


def test_an_engine_that_fits_is_used_as_it_is(builds: list[str | None]) -> None:
    engine = make_engine(request=EngineRequest())
    ready = ready_engine(engine, ONNX_FILE, EngineRequest(), claimed="fp16")
    assert (ready.engine, ready.rebuilt_because, builds) == (engine, "", [])


def test_a_damaged_engine_is_read_as_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.engine"
    write_engine(path, make_engine())
    assert read_engine(path) == make_engine()
    path.write_bytes(PLAN[:5])
    with pytest.raises(ExportError, match="plan_sha256"):
        read_engine(path)
    manifest_path(path).write_bytes(b"\xff\x00")
    with pytest.raises(ExportError, match="found no such pair"):
        read_engine(path)


def test_a_refused_engine_is_built_again_and_never_ends_a_run(builds: list[str | None]) -> None:
    engine, request = make_engine(request=EngineRequest()), EngineRequest()
    truncated = Engine(engine.plan[:5], engine.manifest)
    assert "plan_sha256" in ready_engine(truncated, ONNX_FILE, request).rebuilt_because
    edited = Engine(engine.plan, engine.manifest.model_copy(update={"driver": "1.0"}))
    assert "manifest was edited" in ready_engine(edited, ONNX_FILE, request).rebuilt_because
    assert ready_engine(UnusableEngine("half there"), ONNX_FILE, request).rebuilt_because == "half there"
    assert "onnx_sha256" in ready_engine(engine, b"another", request).rebuilt_because
    assert "request" in ready_engine(engine, ONNX_FILE, EngineRequest(allows_tf32=True)).rebuilt_because
    ready = ready_engine(engine, ONNX_FILE, request, claimed="fp32")
    assert ready.rebuilt_because == "wanted an engine in fp32, found fp16"
    assert (ready.engine.manifest.precision, builds) == ("fp32", [None] * 5 + ["fp32"])
