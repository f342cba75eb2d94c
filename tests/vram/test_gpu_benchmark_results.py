"""What the benchmark on a real card makes of its rows: errors, a summary by hand, going on after failures."""

import importlib
import json
from types import SimpleNamespace

import pytest

from eightgig.core.units import GIB
from eightgig.vram.runtime.card_memory import Context


@pytest.fixture
def bench(project_path, monkeypatch):
    """The benchmark's modules."""
    monkeypatch.syspath_prepend(str(project_path / "benchmarks"))
    names = ("vram_gpu", "gpu_cases", "gpu_results", "gpu_row")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def outcome(bench, name, predicted, measured, *, kind="transformer", fits=True, ran_out=None, variant="amp"):
    cases, rows = bench.gpu_cases, bench.gpu_row
    run = rows.Run(
        capped=True,
        num_steps=20,
        peak_allocated=measured,
        peak_reserved=2 * measured,
        num_segments=5,
        num_retries=0,
        step_seconds=0.2,
    )
    planned = cases.Planned(
        options=cases.StepOptions(micro_batch=1),
        gradient_accumulation_steps=1,
        fits=fits,
        said="",
        predicted=cases.Predicted(
            peak_allocated=predicted,
            peak_reserved=2 * predicted,
            min_memory_limit=predicted,
            num_segments=5,
            at_peak={},
            step_seconds=0.1,
        ),
    )
    seen = rows.Measured(
        capped=run.model_copy(update={"ran_out": ran_out}),
        undisturbed=run,
        context_after=Context(num_bytes=GIB, source="measured"),
        snapshot="",
    )
    row = bench.gpu_results.Outcome(
        workload=name, variant=variant, kind=kind, planned=planned, measured=seen, seconds=1
    )
    return bench.gpu_results.judged(row)


def test_the_summary_by_hand(bench):
    rows = [
        outcome(bench, "bert", 1010, 1000),
        outcome(bench, "gpt2", 930, 1000),  # 1.05 x 930 is less
        outcome(bench, "unet", 1040, 1000, kind="convolutional", ran_out="out of memory"),
        outcome(bench, "big", 1000, 4 * GIB, kind="other"),  # reserves 8 GiB, with a context of 1
        outcome(bench, "refused", 1000, 1000, kind="other", fits=False),
        outcome(bench, "cudnn", 1, 1000, variant="amp, cuDNN attention"),
        bench.gpu_results.Outcome(workload="x", variant="amp", kind="other", problem="broken", seconds=1),
    ]
    made = bench.gpu_results.summary_of({row.key: row for row in rows}, 8.0)
    assert made.rows_measured == 5
    assert made.rows_failed == ("x, amp",)
    assert made.median_error == {"transformer": pytest.approx(0.04), "convolutional": pytest.approx(0.04)}
    assert made.bars_met == {"transformer": False, "convolutional": False}
    assert made.under_predicted == ("gpt2, amp", "big, amp")
    assert made.ran_out_though_planned == ("unet, amp",)
    assert (made.refused, made.ran_though_refused) == (1, ("refused, amp",))
    assert made.over_budget == ("big, amp",)
    assert made.median_error_step_seconds == 0.5
    assert made.segments_exact == 5


def test_no_error_is_stated_where_memory_ran_out_without_a_cap(bench):
    row = outcome(bench, "bert", 1010, 1000)
    run = row.measured.undisturbed.model_copy(update={"ran_out": "out of memory"})
    row = row.model_copy(update={"measured": row.measured.model_copy(update={"undisturbed": run})})
    assert bench.gpu_results.judged(row).errors is None


def test_the_guide_gives_every_training_workload_in_every_variant(bench):
    cases = bench.gpu_cases.guide_cases(with_cudnn_attention=True)
    keys = {case.key for case in cases}
    assert {"flower_classifier, fp32", "gpt2_medium, amp, checkpointing", "cartpole_agent, as planned"} <= keys
    assert "sentiment_classifier, amp, cuDNN attention" in keys
    assert "flower_classifier, amp, cuDNN attention" not in keys
    assert not any("text_generator" in key for key in keys)  # it only answers
    kinds = {case.name: case.kind for case in cases}
    assert (kinds["semantic_segmenter"], kinds["gpt2_medium"]) == ("convolutional", "transformer")


def begun(bench, **changes):
    plain = {"device": "cpu", "card": "a card", "compute_capability": (0, 0), "total_bytes": 0, "torch": "2.11.0"}
    versions = dict.fromkeys(("driver", "cuda", "cudnn", "python"), "1")
    machine = bench.gpu_row.Machine(**{**plain, **versions, **changes}, context=Context(num_bytes=0, source="planned"))
    return bench.gpu_results.Results.begun(machine, None, budget_gib=8.0, num_steps=20, segments="native")


def runner(bench, tmp_path, monkeypatch, *, fail, seconds=1e6):
    """A runner whose rows take no time: planning gives the same plan for all, and the rows in `fail` fail."""
    monkeypatch.setattr(bench.vram_gpu, "plan_case", lambda case, *_: outcome(bench, case.name, 10, 10).planned)

    def measure(_, case, planned):
        if case.key in fail:
            raise RuntimeError("exit code 1: broken")
        return outcome(bench, case.name, 10, 10).measured

    monkeypatch.setattr(bench.vram_gpu.Bench, "_measure", measure)
    path = tmp_path / "results.json"
    results = bench.vram_gpu.resumed(path, begun(bench))
    deadline = bench.vram_gpu.time.monotonic() + seconds
    return bench.vram_gpu.Bench(results, path, deadline=deadline, calibration=None)


def two_cases(bench):
    case = bench.gpu_cases.dry_case()
    return [case.model_copy(update={"name": name}) for name in ("first", "second")]


def test_a_failing_row_is_recorded_and_tried_again_after_the_others(bench, tmp_path, monkeypatch, capsys):
    cases = two_cases(bench)
    one = runner(bench, tmp_path, monkeypatch, fail={"first, fp32"})
    assert one.run(cases) == ["first, fp32"]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["rows"]["first, fp32"]["problem"] == "RuntimeError: exit code 1: broken"
    assert kept["rows"]["second, fp32"]["errors"]["allocated"] == 0
    assert kept["summary"]["rows_measured"] == 1
    capsys.readouterr()
    again = runner(bench, tmp_path, monkeypatch, fail=set())
    assert again.run(cases) == []
    assert capsys.readouterr().out.startswith("first, fp32: predicted")  # the second was there
    assert runner(bench, tmp_path, monkeypatch, fail={"first, fp32"}).run(cases) == []  # nothing is left to do


def test_no_row_is_begun_when_time_is_short(bench, tmp_path, monkeypatch):
    short = runner(bench, tmp_path, monkeypatch, fail=set(), seconds=5)
    assert short.run(two_cases(bench)) == ["first, fp32", "second, fp32"]


def test_the_same_step_is_run_once(bench, tmp_path, monkeypatch, capsys):
    case = bench.gpu_cases.dry_case()
    one = runner(bench, tmp_path, monkeypatch, fail=set())
    assert one.run([case, case.model_copy(update={"variant": "as planned"})]) == []
    assert one.results.rows["cartpole_agent, as planned"].same_as == "cartpole_agent, fp32"
    assert "as planned: the same step as cartpole_agent, fp32" in capsys.readouterr().out


def test_results_of_another_torch_are_moved_aside(bench, tmp_path):
    path = tmp_path / "vram_gpu-card.json"
    path.write_text(begun(bench).model_dump_json())
    assert bench.vram_gpu.resumed(path, begun(bench, driver="2")).machine.driver == "1"
    assert bench.vram_gpu.resumed(path, begun(bench, torch="2.14.1")).machine.torch == "2.14.1"
    assert [found.name for found in tmp_path.iterdir()] == ["vram_gpu-card-torch-2.11.0-8gib.json"]
