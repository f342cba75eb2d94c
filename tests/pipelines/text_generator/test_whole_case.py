"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.data.store.tokens import TokenStore
from eightgig.datasets.weights import WeightsDataset
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

CASE = "text_generator"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


@pytest.fixture(scope="module")
def done(session_factory, tmp_path_factory):
    """One run of the default pipeline; tests look at what it left."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        run(session_factory)
        yield folder / "data"
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it is before any is set


def run(session_factory, tags=None, **parameters):
    with session_factory(env="ci", runtime_params={CASE: parameters} if parameters else None) as session:
        session.run(pipeline_names=[CASE], tags=tags, runner=SequentialRunner())


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_plays_are_packed_into_blocks_and_split_whole(done):
    store = TokenStore(done / f"05_model_input/{CASE}/store.h5")
    splits = pd.read_csv(done / f"05_model_input/{CASE}/splits.csv")
    assert set(store.lengths.tolist()) == {33}
    assert len(splits) == len(store)
    by_play = {}
    for index, split in zip(splits["index"], splits["split"], strict=True):
        by_play.setdefault(store.paths[index], set()).add(split)
    assert len(by_play) == 6
    assert all(len(of_play) == 1 for of_play in by_play.values())
    assert store.vocab_size == 300


def test_it_learns_and_bits_per_byte_are_of_bytes(done):
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    assert 0 < metrics["bits_per_byte"] < 8 * metrics["num_tokens"] / metrics["num_bytes"]
    # a vocabulary of 300 without any knowledge pays log2(300) bits a token
    assert metrics["loss"] < np.log(300) - 0.5
    assert metrics["bits_per_byte"] == pytest.approx(
        metrics["loss"] / np.log(2) * metrics["num_tokens"] / metrics["num_bytes"]
    )


def test_every_form_is_measured_or_says_why_not(done):
    table = pd.read_csv(done / f"07_model_output/{CASE}/benchmark.csv").set_index("variant")
    assert {"torch_cpu", "onnx_fp32", "onnx_int8_dynamic_cpu", "engine_fp16"} <= set(table.index)
    assert read_json(done / f"06_models/{CASE}/parity.json")["reports"]["onnx_fp32"]["passed"]
    with OnnxRuntimeRunner((done / f"06_models/{CASE}/fp32.onnx").read_bytes()) as runner:
        for number, length in ((1, 1), (3, 20)):
            found = runner.run({"input_ids": np.ones((number, length), dtype=np.int64)})["logits"]
            assert found.shape == (number, length, 300)


def test_keys_and_values_are_in_the_plan(done):
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    (writing,) = [phase for phase in plan["predicted"] if phase["phase"] == "generate"]
    weights = 4 * (300 * 32 + 64 * 32 + 2 * (12 * 32**2 + 13 * 32) + 2 * 32)
    assert writing["parameters"] == pytest.approx(weights, rel=0.3)  # each tensor is rounded up to 512 bytes
    cache = 2 * 2 * 32 * 32 * 4
    assert writing["activations"] + writing["temporaries"] >= cache


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / f"08_reporting/{CASE}/report.html") == []


def test_the_page_shows_what_it_writes(done):
    page = (done / f"08_reporting/{CASE}/report.html").read_text(encoding="utf-8")
    for words in ("Bits per byte of held-out text", "What it writes", "kv cache bytes"):
        assert words in page.replace("_", " ")
    generated = read_json(done / f"07_model_output/{CASE}/generated.json")
    assert [one["num_tokens"] for one in generated["texts"]] == [20, 20, 20]


def test_a_prompt_is_gone_on_with_and_streamed(done, session_factory, monkeypatch, capsys):
    monkeypatch.setenv("EIGHTGIG_DATA", str(done))
    chosen = {"prompt": "ROMEO. ", "method": "greedy", "num_samples": 2, "max_new_tokens": 12}
    run(session_factory, tags=["generate"], generate=chosen)
    generated = read_json(done / f"07_model_output/{CASE}/generated.json")
    first, second = generated["texts"]
    assert first == second
    assert first["prompt"] == "ROMEO. "
    assert first["text"] in capsys.readouterr().out
    run(session_factory, tags=["generate"], generate={**chosen, "cache": False})
    assert read_json(done / f"07_model_output/{CASE}/generated.json")["texts"] == generated["texts"]


def test_a_prompt_that_is_too_long_is_refused(done, session_factory, monkeypatch):
    monkeypatch.setenv("EIGHTGIG_DATA", str(done))
    with pytest.raises(ConfigurationError, match=r"leave no room: the network looks at 64 in all"):
        run(session_factory, tags=["generate"], generate={"prompt": "to be or not " * 60})


def test_own_texts_train_with_lora_and_leave_plain_weights(open_session, tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"Once upon a time there were {number} bears. " * 200, encoding="utf-8")
    own = {"source": "files", "root": str(tmp_path), "num_documents": None}
    run(open_session, tags=["ingest", "plan", "train"], data=own, model={"lora": {"rank": 2}})
    weights = WeightsDataset(filepath=str(tmp_path / "data" / f"06_models/{CASE}/weights.safetensors")).load()
    assert not any("lora" in name for name in weights.state)
    assert "transformer.wte.weight" in weights.state


def test_one_document_is_refused_with_the_way_out(open_session, tmp_path):
    (tmp_path / "one.txt").write_text("all there is", encoding="utf-8")
    with pytest.raises(DataError, match="Cut a long text into files"):
        run(
            open_session,
            tags=["ingest"],
            data={"source": "files", "root": str(tmp_path / "one.txt"), "num_documents": None},
        )
