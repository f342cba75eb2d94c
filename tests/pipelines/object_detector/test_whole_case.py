"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json
from fractions import Fraction

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner

from eightgig.core.errors import ConfigurationError
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt
from eightgig.export.onnx import load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.precision import names_in, require_precision
from eightgig.tasks.detection.detections import suppress
from eightgig.tasks.detection.suppression import detections_of

CASE = "object_detector"
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


def onnx_file(done, name):
    return (done / "06_models" / CASE / f"{name}.onnx").read_bytes()


def images(count=2):
    return np.random.default_rng(0).random((count, 3, 64, 64), dtype=np.float32)


def test_each_stage_leaves_its_files(done):
    for path in (
        f"02_intermediate/{CASE}/boxes.csv",
        f"02_intermediate/{CASE}/rejects.csv",
        f"05_model_input/{CASE}/store.h5",
        f"06_models/{CASE}/suppressed.onnx",
        f"06_models/{CASE}/compressed/student_int8_cpu.onnx",
        f"07_model_output/{CASE}/pr_curve.csv",
        f"07_model_output/{CASE}/predict.png",
        f"07_model_output/{CASE}/video/sample_source_detected.mp4",
        f"08_reporting/{CASE}/milliseconds.plotly.json",
    ):
        assert (done / path).stat().st_size > 0, path


def test_the_detector_is_trained_under_the_plan_with_fitted_anchors(done):
    card = read_json(done / f"06_models/{CASE}/weights.card.json")
    assert (card["model"], card["score_name"], card["image_size"]) == ("eightgig/yolov5n", "mAP50", 64)
    assert card["classes"] == ["duck", "frog", "koi", "turtle", "water lily"]
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    assert (plan["micro_batch"], plan["gradient_accumulation_steps"], plan["fits"]) == (8, 2, True)
    history = pd.read_csv(done / f"08_reporting/{CASE}/history.csv")
    assert history["train_loss"].gt(0).all()
    assert {"val_score", "val_loss"} <= set(history)


def test_the_decoding_stays_in_float32(done):
    half = load_onnx(onnx_file(done, "fp16"))
    require_precision(half, "fp16")
    floats = set(names_in(read_card(onnx_file(done, "fp16")), "float32_nodes"))
    sigmoids = [node.name for node in half.graph.node if node.op_type == "Sigmoid" and node.name in floats]
    assert len(sigmoids) == 3  # one a level, behind the last convolutions
    lint_int8_cpu(load_onnx(onnx_file(done, "int8_cpu")))
    lint_int8_trt(load_onnx(onnx_file(done, "int8_trt")))
    predictions = {}
    for name in ("fp32", "fp16"):
        with OnnxRuntimeRunner(onnx_file(done, name)) as runner:
            predictions[name] = runner.run({"images": images()})["predictions"]
    assert predictions["fp32"].shape == (2, 252, 10)
    assert np.abs(predictions["fp32"][..., :4] - predictions["fp16"][..., :4]).max() < 0.1  # pixels


def test_the_file_with_suppression_gives_what_suppression_gives(done):
    images_N3HW = images()
    with OnnxRuntimeRunner(onnx_file(done, "fp32")) as plain, OnnxRuntimeRunner(onnx_file(done, "suppressed")) as own:
        outside = suppress(plain.run({"images": images_N3HW})["predictions"], confidence=0.25, iou=0.45)
        inside = detections_of(own.run({"images": images_N3HW}), len(images_N3HW))
    for one, other in zip(outside, inside, strict=True):
        assert len(one.scores_M) == len(other.scores_M)
        np.testing.assert_allclose(one.boxes_xyxy_M4, other.boxes_xyxy_M4, atol=1e-3)


def test_parity_and_every_variant_has_a_row(done):
    reports = read_json(done / f"06_models/{CASE}/parity.json")["reports"]
    assert set(reports) == {"onnx_fp32", "onnx_fp16", "onnx_int8_cpu", "onnx_int8_trt"}
    assert reports["onnx_fp32"]["passed"]
    assert reports["onnx_fp32"]["max_abs_diff_outputs"] > 0
    rows = pd.read_csv(done / f"07_model_output/{CASE}/benchmark.csv").set_index("variant")
    assert (rows["score_name"].dropna() == "mAP50").all()
    assert {"torch_cpu", "onnx_int8_cpu", "onnx_student_fp32", "engine_fp16"} <= set(rows.index)
    assert rows.loc[rows["status"] != "ok", "score"].isna().all()
    assert rows.loc[rows["status"] == "ok", "mAP50_95"].notna().all()
    engines = pd.read_csv(done / f"07_model_output/{CASE}/engines.csv").set_index("variant")
    if engines.loc["engine_fp16", "toolkit"] == "tensorrt_rtx":
        assert engines["status"].eq("built").all()


def test_what_was_found_and_missed_is_counted_once(done):
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    found = pd.read_csv(done / f"07_model_output/{CASE}/detections.csv")
    counts = found["kind"].value_counts()
    assert counts.get("hit", 0) + counts.get("miss", 0) == metrics["num_boxes"]
    assert found.loc[found["kind"] == "miss", "score"].isna().all()
    confusion = pd.read_csv(done / f"07_model_output/{CASE}/confusion.csv", index_col=0)
    assert confusion.iloc[:-1].to_numpy().sum() == metrics["num_boxes"]


def test_the_video_loses_no_frame(done):
    report = read_json(done / f"07_model_output/{CASE}/video.json")
    assert (report["frames_read"], report["frames_written"], report["frames_dropped"]) == (20, 20, 0)
    lines = (done / f"07_model_output/{CASE}/video/sample_source_detected.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(20))


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / f"08_reporting/{CASE}/report.html") == []


def test_the_page_shows_the_detector(done):
    page = (done / f"08_reporting/{CASE}/report.html").read_text(encoding="utf-8")
    for heading in ("Results on held-out images", "Speed against mAP50", "Video", "What it found and what it missed"):
        assert f"{heading}</h2>" in page


def phone_clip(path):
    """Six frames, stored lying and shown standing, the second half slower, with sound."""
    import av

    times_ms = [0, 40, 80, 280, 480, 680]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.set_display_rotation(-90)
        track = container.add_stream("aac", rate=8000, layout="mono")
        for number, time_ms in enumerate(times_ms):
            grey = np.full((96, 160, 3), 20 + 30 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        beep = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        beep.sample_rate, beep.pts = 8000, 0
        container.mux([*stream.encode(None), *track.encode(beep), *track.encode(None)])
    return path, [time_ms / 1000 for time_ms in times_ms]


def test_a_users_video_by_tag(done, session_factory, tmp_path):
    import av

    source, times_s = phone_clip(tmp_path / "phone.mkv")
    run(session_factory, tags=["video"], video={"source": str(source), "runner": "onnx_suppressed"})
    report = read_json(done / f"07_model_output/{CASE}/video.json")
    assert (report["runner"], report["frames_written"], report["source"]) == ("onnx_suppressed", 6, source.name)
    assert (report["width"], report["height"]) == (96, 160)
    assert report["notes"] == ["Its sound is left out: the drawn video is silent."]
    lines = (done / f"07_model_output/{CASE}/video/phone_detected.jsonl").read_text().splitlines()
    assert [json.loads(line)["time_s"] for line in lines] == pytest.approx(times_s, abs=2e-3)
    with av.open(str(done / f"07_model_output/{CASE}/video/phone_detected.mp4")) as container:
        drawn = [(frame.time, float(np.median(frame.to_ndarray(format="gray")))) for frame in container.decode(video=0)]
    assert [time_s for time_s, _ in drawn] == pytest.approx(times_s, abs=2e-3)
    assert [grey for _, grey in drawn] == pytest.approx([20 + 30 * number for number in range(6)], abs=8)


def test_an_address_is_refused_unless_it_is_allowed(done, session_factory):
    with pytest.raises(ConfigurationError, match="rtsp"):
        run(session_factory, tags=["video"], video={"source": "rtsp://camera/stream"})
    with pytest.raises(ConfigurationError, match="no form `fastest`"):
        run(session_factory, tags=["video"], video={"runner": "fastest"})


def test_boxes_in_a_users_folder_of_images(done, session_factory, tmp_path):
    source = next((done / "01_raw" / CASE / "rendered" / "images").rglob("*.jpg"))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "one.jpg").write_bytes(source.read_bytes())
    (tmp_path / "new" / "two.jpg").write_text("not an image")
    run(session_factory, tags=["predict"], predict={"source": str(tmp_path / "new"), "confidence": 0.0})
    table = pd.read_csv(done / f"07_model_output/{CASE}/predict.csv")
    assert table["file"].str.endswith("one.jpg").all()
    assert table["score"].notna().all()
    rejects = pd.read_csv(done / f"07_model_output/{CASE}/predict_rejects.csv")
    assert rejects["reason"].tolist() == ["not_an_image"]


def test_tiles_find_boxes_in_a_large_image(done, session_factory, tmp_path):
    import cv2

    from eightgig.data.samples.scenes import render_scene

    scenes = [render_scene(seed=seed, image_side_px=(200, 200))[0] for seed in range(4)]
    image_HWC = np.concatenate([np.concatenate(scenes[:2], 1), np.concatenate(scenes[2:], 1)])
    cv2.imwrite(str(tmp_path / "pond.png"), image_HWC[..., ::-1])
    source = str(tmp_path / "pond.png")
    run(session_factory, tags=["tiles"], tiles={"source": source, "tile": 128}, predict={"confidence": 0.01})
    report = read_json(done / f"07_model_output/{CASE}/tiles.json")
    assert (report["width"], report["height"], report["tile"], report["overlap"]) == (400, 400, 128, 32)
    assert report["num_tiles"] == 16
    boxes = pd.read_csv(done / f"07_model_output/{CASE}/tiles_boxes.csv")
    assert sum(report["found"].values()) == len(boxes)
    assert boxes[["x1", "y1"]].ge(0).all().all()
    assert boxes[["x2", "y2"]].le(400).all().all()
    with pytest.raises(ConfigurationError, match=r"tiles\.tile=200: .* a multiple of 32\. Take 224"):
        run(session_factory, tags=["tiles"], tiles={"source": source, "tile": 200})
