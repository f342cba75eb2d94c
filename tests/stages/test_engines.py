"""Engines as the stages see them: made, missing with the reason, or refused and made again."""

import logging

import pandas as pd
import pytest
import torch
from torch import nn

from eightgig.core.errors import ExportError
from eightgig.datasets.engine import Engine, UnusableEngine
from eightgig.export.onnx import export_onnx
from eightgig.export.parameters import ExportParameters
from eightgig.export.tensorrt import toolkit
from eightgig.stages.engines import build_engines, request_for
from eightgig.stages.variants import engine_variants

PARAMETERS = ExportParameters()


@pytest.fixture(scope="module")
def onnx_file() -> bytes:
    return export_onnx(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), {"images": torch.zeros(1, 3, 8, 8)}, card={})


def test_without_tensorrt_every_row_says_how_to_install_it(onnx_file, monkeypatch):
    monkeypatch.setattr(toolkit, "find_spec", lambda _: None)
    engines, table = build_engines(onnx_file, onnx_file, onnx_file, PARAMETERS)
    assert engines == {}
    assert list(table["variant"]) == ["engine_fp32", "engine_fp16", "engine_int8"]
    assert table["status"].str.endswith("is not installed. To install it: pip install tensorrt-rtx").all()
    files = dict.fromkeys(("onnx_fp32", "onnx_fp16", "onnx_int8_trt"), onnx_file)
    for variant in engine_variants({**engines}, table, files, PARAMETERS.tensorrt):
        with pytest.raises(ExportError, match="To install it: pip install tensorrt-rtx"):
            variant.open()


def test_engines_of_texts_take_any_length_up_to_the_cards():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))
    ids = {"input_ids": torch.zeros(1, 8, dtype=torch.int64)}
    file = export_onnx(network, ids, card={"max_tokens": "64"}, dynamic_axes={0: "batch", 1: "tokens"})
    profile = request_for(file, PARAMETERS.tensorrt).shapes["input_ids"]
    assert (profile.smallest, profile.usual, profile.largest) == ((1, 1), (1, 32), (32, 64))


def test_a_file_of_another_precision_becomes_no_engine(onnx_file):
    pytest.importorskip("tensorrt_rtx")
    engines, table = build_engines(onnx_file, onnx_file, onnx_file, PARAMETERS)
    assert list(engines) == ["engine_fp32"]
    status = table.set_index("variant")["status"]
    assert status["engine_fp32"] == "built"
    assert "wanted fp16, but most of its weights are multiplied in fp32" in status["engine_fp16"]
    assert "wanted int8" in status["engine_int8"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the engine opens")
def test_a_refused_engine_is_built_again_and_then_waits_for_its_card(onnx_file, caplog):
    pytest.importorskip("tensorrt_rtx")
    table = pd.DataFrame([{"variant": "engine_fp32", "status": "built", "toolkit": "tensorrt_rtx"}])
    files = {"onnx_fp32": onnx_file}
    found: dict[str, Engine | UnusableEngine] = {
        "engine_fp32": UnusableEngine("a.engine: the engine's manifest was edited")
    }
    (variant,) = engine_variants(found, table, files, PARAMETERS.tensorrt)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ExportError, match=r"built for sm_86 \(.*RTX 3070.*\); running it waits for a GPU"),
    ):
        variant.open()
    assert "engine_fp32 was refused and built again for this run" in caplog.text
    assert "the engine's manifest was edited" in caplog.text
