"""ONNX files and engines."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, json_edits
from tests.fuzz.harness import Files, Reader
from tests.fuzz.protobuf import onnx_edits
from tests.fuzz.readers.images import put

_CARD = {
    "model": "tiny",
    "classes": '["a", "b"]',
    "weights_sha256": "0" * 64,
    "mean": "[0.5, 0.5, 0.5]",
    "std": "[1, 1, 1]",
    "image_size": "8",
}


def _weight(*shape: int, kind: str = "float32", scale: float = 1.0) -> Any:
    import numpy as np

    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(kind)


def _network(nodes: list[Any], weights: dict[str, Any]) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from eightgig.export.onnx import OPSET, dump_onnx

    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return dump_onnx(onnx.shape_inference.infer_shapes(model), _CARD)


def _float_network() -> bytes:
    import numpy as np
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Reshape", ["p", "shape"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w2"], ["logits"], "head", transB=1),
    ]
    weights = {"w1": _weight(4, 3, 3, 3), "b1": _weight(4), "shape": np.array([0, -1]), "w2": _weight(2, 4)}
    return _network(nodes, weights)


def _int8_network() -> bytes:
    import numpy as np
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["images"], ["x"], "flat"),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["e"], "e"),
        helper.make_node("MatMul", ["d", "e"], ["logits"], "product"),
    ]
    small = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    return _network(nodes, {"w": _weight(192, 2, kind="int8", scale=50), **small})


def _write_onnx(folder: Path) -> None:
    put(folder / "0" / "n.onnx", _float_network())
    put(folder / "1" / "n.onnx", _int8_network())


def _read_onnx(folder: Path) -> None:
    from eightgig.datasets.files import OnnxDataset
    from eightgig.export.card import ModelCard
    from eightgig.export.onnx import load_onnx, read_card
    from eightgig.export.precision import layer_precisions, precision_card, read_precision, require_precision

    content = OnnxDataset(filepath=str(folder / "n.onnx")).load()
    model = load_onnx(content)
    read_precision(model)
    layer_precisions(model)
    precision_card(model)
    card = read_card(content)
    require_precision(model, card.get("precision", "fp32"), name="n.onnx")
    ModelCard.from_metadata(card)


def _run_onnx(folder: Path) -> None:
    import numpy as np

    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    with OnnxRuntimeRunner((folder / "n.onnx").read_bytes(), num_threads=1, name="n.onnx") as runner:
        runner.describe()
        runner.run({"images": np.ones((2, 3, 8, 8), np.float32)})


def _engine() -> Any:
    from eightgig.export.tensorrt.manifest import sealed
    from eightgig.export.tensorrt.records import Engine, EngineLayer, EngineManifest, EngineRequest, EngineTensor

    layer = EngineLayer(
        name="a", layer_type="gemm", inputs=("fp16",), constants=("fp16",), outputs=("fp16",), onnx_layers=("conv",),
        is_matrix=True, precision="fp16",
    )  # fmt: skip
    plan = b"a serialized engine" * 9
    manifest = EngineManifest(
        toolkit="tensorrt_rtx", toolkit_version="1.7.1.116", precision="fp16", exempt_nodes=(), unproven_nodes=("b",),
        changed_nodes={"c": "fp32"}, layers=(layer,), compute_capability=(8, 6), gpu=None, driver=None,
        platform="Linux x86_64", onnx_sha256="1" * 64, plan_sha256=hashlib.sha256(plan).hexdigest(),
        inputs=(EngineTensor(name="images", dtype="float32", shape=(1, 3, 8, 8)),), outputs=(),
        request=EngineRequest(), build_seconds=1.5, eightgig_version="0.1.0",
    )  # fmt: skip
    return Engine(plan, sealed(manifest))


def _write_engine(folder: Path) -> None:
    from eightgig.export.tensorrt.files import write_engine

    (folder / "0").mkdir(parents=True)
    write_engine(folder / "0" / "n.engine", _engine())


def _read_engine(folder: Path) -> None:
    from eightgig.datasets.engine import EngineDataset
    from eightgig.export.tensorrt.files import read_engine
    from eightgig.export.tensorrt.manifest import check_plan
    from eightgig.export.tensorrt.records import UnusableEngine

    found = EngineDataset(filepath=str(folder / "n.engine")).load()
    engine = read_engine(folder / "n.engine")
    assert not isinstance(found, UnusableEngine)
    check_plan(engine)
    assert engine.manifest.matrix_layers_by_precision is not None


def _seal_engine(files: Files) -> None:
    """Seal as the writer does, without its checks: over the fields in one fixed form."""
    manifest = json.loads(files["n.manifest.json"])
    manifest["plan_sha256"] = hashlib.sha256(files["n.engine"]).hexdigest()
    manifest.pop("seal")
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False)
    manifest["seal"] = hashlib.sha256(text.encode()).hexdigest()
    files["n.manifest.json"] = json.dumps(manifest).encode()


_ONNX = {"*": either(byte_edits, onnx_edits, onnx_edits)}

READERS = [
    Reader("networks.onnx", _write_onnx, _read_onnx, _ONNX, names_file=False),
    Reader("networks.onnxruntime", _write_onnx, _run_onnx, _ONNX, names_file=False),
    Reader(
        "networks.engine", _write_engine, _read_engine, {"*.json": json_edits, "*.engine": byte_edits}, _seal_engine
    ),
]
