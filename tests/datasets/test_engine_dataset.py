"""An engine exists when its manifest does, and is one only as it was written."""

from pathlib import Path

import pytest

from eightgig.core.files import sha256_of
from eightgig.datasets.engine import EngineDataset, UnusableEngine
from eightgig.export.tensorrt.manifest import sealed
from eightgig.export.tensorrt.records import Engine, EngineManifest, EngineRequest

PLAN = b"a serialized engine"


@pytest.fixture
def engine() -> Engine:
    manifest = EngineManifest(
        toolkit="tensorrt_rtx",
        toolkit_version="1.7.1.116",
        precision="fp16",
        exempt_nodes=(),
        unproven_nodes=(),
        changed_nodes={},
        layers=(),
        compute_capability=(8, 6),
        gpu=None,
        driver=None,
        platform="Linux x86_64",
        onnx_sha256=sha256_of(b"an ONNX file"),
        plan_sha256=sha256_of(PLAN),
        inputs=(),
        outputs=(),
        request=EngineRequest(),
        build_seconds=1.0,
        eightgig_version="0.1.0",
    )
    return Engine(PLAN, sealed(manifest))


def reason_of(dataset: EngineDataset) -> str:
    loaded = dataset.load()
    assert isinstance(loaded, UnusableEngine)
    return loaded.reason


def test_an_engine_round_trip(tmp_path: Path, engine: Engine) -> None:
    dataset = EngineDataset(filepath=str(tmp_path / "fp16.engine"))
    assert not dataset.exists()
    dataset.save(engine)
    assert dataset.exists()
    assert dataset.load() == engine


def test_an_engine_without_its_manifest_does_not_exist(tmp_path: Path, engine: Engine) -> None:
    dataset = EngineDataset(filepath=str(tmp_path / "fp16.engine"))
    dataset.save(engine)
    (tmp_path / "fp16.manifest.json").unlink()
    assert not dataset.exists()
    assert "found no such pair" in reason_of(dataset)


def test_a_damaged_engine_is_refused(tmp_path: Path, engine: Engine) -> None:
    dataset = EngineDataset(filepath=str(tmp_path / "fp16.engine"))
    dataset.save(engine)
    (tmp_path / "fp16.engine").write_bytes(PLAN[:-1])
    assert "fp16.engine: the engine is damaged or was replaced" in reason_of(dataset)
    assert "Build the engine again" in reason_of(dataset)


def test_an_edited_manifest_is_refused(tmp_path: Path, engine: Engine) -> None:
    dataset = EngineDataset(filepath=str(tmp_path / "fp16.engine"))
    dataset.save(engine)
    manifest = tmp_path / "fp16.manifest.json"
    manifest.write_text(manifest.read_text().replace('"fp16"', '"int8"'))
    assert "fp16.engine: the engine's manifest was edited" in reason_of(dataset)
