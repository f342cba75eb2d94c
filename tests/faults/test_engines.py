"""Row 30 of the fault table: an engine that is not what its manifest says."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from eightgig.datasets.engine import EngineDataset, UnusableEngine
from eightgig.export.onnx import dump_onnx
from eightgig.export.tensorrt.builder import build_engine
from eightgig.export.tensorrt.files import ready_engine
from eightgig.export.tensorrt.records import EngineRequest

pytestmark = pytest.mark.whole

pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def onnx_file():
    """One convolution."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, (4, 3, 1, 1), np.ones(12, np.float32))
    images, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", channels, 8, 8))
        for name, channels in (("images", 3), ("logits", 4))
    )
    node = helper.make_node("Conv", ["images", "weights"], ["logits"], name="/conv")
    graph = helper.make_graph([node], "graph", [images], [logits], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return dump_onnx(model, {})


@pytest.fixture(scope="module")
def engine(onnx_file):
    return build_engine(onnx_file, EngineRequest(), claimed="fp32")


def edit(manifest, **changes):
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


FAULTS = {
    "an edited manifest": lambda folder: edit(folder / "fp32.manifest.json", toolkit_version="0.0.1"),
    "another file's hash": lambda folder: edit(folder / "fp32.manifest.json", onnx_sha256="0" * 64),
    "half a manifest": lambda folder: (folder / "fp32.manifest.json").write_text('{"toolkit": "tens'),
    "a flipped bit": lambda folder: flip(folder / "fp32.engine"),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("fault", FAULTS)
def test_row_30_stale_engine(tmp_path, engine, onnx_file, fault):
    dataset = EngineDataset(filepath=str(tmp_path / "fp32.engine"))
    dataset.save(engine)
    assert ready_engine(dataset.load(), onnx_file, EngineRequest(), claimed="fp32").rebuilt_because == ""
    FAULTS[fault](tmp_path)

    found = dataset.load()
    assert isinstance(found, UnusableEngine), "never handed to TensorRT"
    ready = ready_engine(found, onnx_file, EngineRequest(), claimed="fp32")
    assert ready.rebuilt_because == found.reason
    assert "fp32.engine: " in found.reason
    dataset.save(ready.engine)
    again = ready_engine(dataset.load(), onnx_file, EngineRequest(), claimed="fp32")
    assert (again.rebuilt_because, again.engine.manifest.onnx_sha256) == ("", engine.manifest.onnx_sha256)


def test_row_30_engine_of_an_older_onnx_file(tmp_path, engine, onnx_file):
    """Nothing was edited; the model was exported anew."""
    dataset = EngineDataset(filepath=str(tmp_path / "fp32.engine"))
    dataset.save(engine)
    newer = onnx_file.replace(b"/conv", b"/Conv")
    ready = ready_engine(dataset.load(), newer, EngineRequest(), claimed="fp32")
    assert "the engine is for something else: onnx_sha256 wanted" in ready.rebuilt_because
    assert ready.engine.manifest.onnx_sha256 != engine.manifest.onnx_sha256
