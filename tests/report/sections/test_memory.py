"""The report's section on memory, from a plan made by hand."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from eightgig.core.units import GIB, MIB
from eightgig.report.page import Chart, Facts, Folded, Table
from eightgig.report.sections.memory import measured_peak_gib, memory_section, phases_table, timeline_table
from eightgig.vram.plan import CandidateResult, Finding, MemoryPlan, MemorySample, Numerics, OwnedBytes, PhaseMemory
from eightgig.vram.runtime.diagnosis import OomDiagnosis, Recovered
from eightgig.vram.runtime.measure import CacheClearings, MeasuredPhase
from eightgig.vram.trace import VramTrace

EXPORT = MeasuredPhase(phase="export", device="cpu", seconds=9, peak_resident_bytes=3 * GIB, resident_growth_bytes=GIB)
HISTORY = pd.DataFrame(
    {
        "samples_per_second": [1.0, 60.0, 64.0, 68.0],
        "skipped_steps": [2, 0, 1, 0],
        "loss_scale": [16384.0, 16384.0, 8192.0, 8192.0],
    }
)


def way(micro_batch: int, gradient_accumulation_steps: int, needed_gib: float, seconds: float) -> CandidateResult:
    return CandidateResult(
        precision="fp16",
        activation_checkpointing="none",
        optimizer_kernel="fused",
        memory_format="contiguous",
        micro_batch=micro_batch,
        gradient_accumulation_steps=gradient_accumulation_steps,
        needed_bytes=int(needed_gib * GIB),
        fits=needed_gib < 7.5,
        seconds_per_step=seconds,
    )


def make_plan(**changes) -> MemoryPlan:
    device = changes.get("device", "cuda")
    train = PhaseMemory(
        phase="train",
        device=device,
        parameters=GIB,
        gradients=GIB,
        optimizer=2 * GIB,
        activations=GIB,
        reserved_bytes=6 * GIB,
        min_memory_limit_bytes=5 * GIB + 512 * MIB,
    )
    plan = MemoryPlan(
        model="net",
        sample="300 px",
        device=device,
        device_name="NVIDIA GeForce RTX 3070",
        card="RTX 3070",
        micro_batch=8,
        gradient_accumulation_steps=4,
        eval_batch=16,
        precision="fp16",
        activation_checkpointing="none",
        optimizer_kernel="fused",
        memory_format="contiguous",
        budget_gib=8.0,
        context_bytes=GIB // 2,
        budget_bytes=7 * GIB + GIB // 2,
        predicted=(
            train,
            PhaseMemory(phase="validate", device=device, parameters=GIB, temporaries=GIB),
            PhaseMemory(phase="checkpoint", device=device, parameters=GIB, optimizer=2 * GIB),
            PhaseMemory(phase="export", device="cpu", parameters=3 * GIB),
        ),
        expected_bytes=5 * GIB,
        needed_bytes=6 * GIB,
        predicted_reserved_bytes=6 * GIB,
        margin_bytes=GIB + GIB // 2,
        fits=True,
        timeline=(
            MemorySample(done=0.5, phase="forward", parameters=GIB, optimizer=2 * GIB, activations=GIB),
            MemorySample(done=1.0, phase="backward", parameters=GIB, gradients=GIB, optimizer=2 * GIB),
        ),
        largest=(
            OwnedBytes(owner="zeros_like", category="optimizer", num_bytes=2 * GIB),
            OwnedBytes(owner="blocks.0/conv2d", category="activations", num_bytes=GIB // 2),
            OwnedBytes(owner="(whole)/log_softmax", category="activations", num_bytes=GIB // 4),
        ),
        seconds_per_step=0.4,
        bottleneck="compute",
        considered=(way(16, 2, 9.0, 0.3), way(8, 4, 6.0, 0.4)),
        findings=(Finding(code="VRAM001", message="micro-batch 16 does not fit"),),
        method="a trace",
    )
    return plan.model_copy(update=changes)


def seen(phase: str, gib: float, device: str = "cuda") -> MeasuredPhase:
    size = int(gib * GIB)
    peaks = {"peak_allocated_bytes": size, "peak_reserved_bytes": size + GIB} if device == "cuda" else {}
    return MeasuredPhase(
        phase=phase, device=device, seconds=2, peak_resident_bytes=9 * GIB, resident_growth_bytes=size, **peaks
    )


def section_of(plan: MemoryPlan, trace: VramTrace | None = None):
    trace = trace or VramTrace.of(plan, (seen("train", 4.0, plan.device), seen("validate", 2.5, plan.device)))
    return memory_section(plan, trace, EXPORT, HISTORY, step=go.Figure(), phases=go.Figure())


def facts(plan: MemoryPlan) -> dict[str, tuple]:
    (block,) = [block for block in section_of(plan).blocks if isinstance(block, Facts)]
    return {fact.label: (fact.value, fact.note) for fact in block.facts}


def folded(section) -> dict[str, Any]:
    return {block.summary.partition(":")[0]: block.blocks[0] for block in section.blocks if isinstance(block, Folded)}


def test_the_timeline_is_in_gib_by_category():
    table = timeline_table(make_plan())
    assert list(table.columns[:4]) == ["done", "phase", "parameters", "gradients"]
    assert list(table.loc[1, ["parameters", "gradients", "optimizer"]]) == [1.0, 1.0, 2.0]


def test_a_plan_survives_json_with_its_samples_and_owners():
    plan = make_plan()
    assert MemoryPlan.model_validate_json(plan.model_dump_json()) == plan


def test_phases_have_all_categories_and_what_was_measured():
    plan = make_plan()
    table = phases_table(plan, VramTrace.of(plan, (seen("train", 4.0),)), EXPORT)
    train = table[(table["phase"] == "train") & (table["kind"] == "predicted")].set_index("part")["gib"]
    assert train.sum() == 5.0
    assert train["optimizer"] == 2.0
    measured = table[table["kind"] == "measured"]
    assert measured["phase"].tolist() == ["train", "export (main memory)"]
    assert measured["part"].tolist() == ["tensors on the GPU", "growth of the process, no test of the prediction"]


def test_only_tensors_are_held_against_the_prediction():
    plan = make_plan()
    assert measured_peak_gib(VramTrace.of(plan, (seen("train", 4.0),))) == 4.0
    assert measured_peak_gib(VramTrace.of(plan, (seen("train", 4.0, "cpu"),))) is None


def test_the_plan_is_told_first_and_findings_stand_before_the_charts():
    section = section_of(make_plan())
    assert section.prose.startswith("Micro-batch 8 x 4 accumulation, fp16")
    assert "CPU" not in section.prose
    findings, step, phases = [block for block in section.blocks if not isinstance(block, Folded)][1:]
    assert findings.rows == [("VRAM001", "micro-batch 16 does not fit")]
    assert isinstance(step, Chart)
    assert step.caption == "Who holds the memory over one training step (predicted; 2 of its 4 micro-batches are drawn)"
    assert "predicted, measured, and the budget" in phases.caption


def test_a_plan_without_findings_or_timeline_leaves_them_out():
    blocks = section_of(make_plan(findings=(), timeline=())).blocks
    assert sum(isinstance(block, Chart) for block in blocks) == 1
    assert not [block for block in blocks if isinstance(block, Table)]


def test_what_was_considered_is_folded_and_the_chosen_one_is_marked():
    table = folded(section_of(make_plan()))["What the planner looked at"]
    assert [(row[0], row[4], row[5], row[6], str(row[7]).strip()) for row in table.rows] == [
        ("16 x 2", "9.0 GiB", False, "300 ms", ""),
        ("8 x 4", "6.0 GiB", True, "400 ms", "chosen"),
    ]
    assert "What the planner looked at" not in folded(section_of(make_plan(considered=(way(8, 4, 6.0, 0.4),))))


def test_the_largest_layers_are_those_with_a_module():
    table = folded(section_of(make_plan()))["The layers that hold most at the peak"]
    assert table.rows == [
        ("blocks.0", "conv2d", "512.0 MiB", "10%"),
        ("outside of its layers", "log_softmax", "256.0 MiB", "5%"),
    ]


def test_errors_are_told_by_phase_where_tensors_were_measured():
    rows = {row[0]: row for row in folded(section_of(make_plan()))["The phases in figures"].rows}
    assert rows["train"][1:] == ["5.0 GiB", "5.5 GiB", "6.0 GiB", "4.0 GiB", "5.0 GiB", "+25.0%"]
    assert rows["checkpoint"][4:] == [None, None, None]
    assert rows["export (main memory)"][4:] == ["1.0 GiB", None, None]


def test_the_cpu_tests_no_prediction_and_its_empty_columns_are_left_out():
    section = section_of(make_plan(device="cpu", device_name="AMD EPYC, 2 cores", context_bytes=0))
    assert "it does not test the prediction" in section.prose
    assert "error" not in folded(section)["The phases in figures"].columns


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, "the prediction is off by -20%; waiting for the loader is measured too"),
        ({"device": "cpu", "device_name": "a CPU"}, "on the CPU: cannot be compared with the RTX 3070"),
        ({"device_name": "NVIDIA A100"}, "on another card: cannot be compared with the RTX 3070"),
        ({"card": "NVIDIA A100", "device_name": "NVIDIA A100"}, "the prediction is off by -20%"),
        ({"card": None, "seconds_per_step": None, "bottleneck": None}, ""),
    ],
)
def test_a_steps_time_is_compared_only_on_the_planned_card(changes, note):
    value, found = facts(make_plan(**changes))["a step, measured"]
    assert value == "500 ms"  # 32 samples at 64 a second: the first epoch does not count
    assert found.startswith(note)
    assert bool(found) == bool(note)


def test_the_predicted_time_names_its_card_and_limit():
    assert facts(make_plan())["a step, predicted"] == ("400 ms", "on the RTX 3070, by a roofline, limited by compute")
    assert "a step, predicted" not in facts(make_plan(seconds_per_step=None))


def test_recoveries_are_told_with_their_reasons():
    plan, diagnosis = make_plan(), OomDiagnosis(code="too_big", finding="2 GiB were asked for", advice="take less")
    once = Recovered(phase="train", step=3, failed_batch=8, batch=4, diagnosis=diagnosis)
    smaller = plan.model_copy(update={"micro_batch": 4, "gradient_accumulation_steps": 8})
    section = section_of(plan, VramTrace.of(plan, (seen("train", 4.0),), final_plan=smaller, recovered=(once,)))
    assert "ran out once all the same, and the run went on at the same effective batch of 32" in section.prose
    assert "it ended with micro-batch 4 x 8 accumulation" in section.prose
    (table,) = [block for block in section.blocks if isinstance(block, Table) and "ran out" in block.caption]
    assert table.rows == [("train", 3, 8, 4, "too big: 2 GiB were asked for; take less")]


def test_what_was_found_while_it_ran_stands_with_the_other_findings():
    plan, falling = make_plan(), Finding(code="VRAM103", message="the loss scale keeps falling")
    section = section_of(plan, VramTrace.of(plan, (seen("train", 4.0),), findings=(falling,)))
    (table,) = [block for block in section.blocks if isinstance(block, Table) and block.caption == "Findings"]
    assert [row[0] for row in table.rows] == ["VRAM001", "VRAM103"]


def test_how_exactly_a_card_computes_is_said():
    assert facts(make_plan(precision="fp32"))["precision"][1].startswith("TF32 in convolutions")
    exact = make_plan(numerics=Numerics(tf32="never", cudnn_benchmark=True))
    assert facts(exact)["precision"][1] == "no TF32, cuDNN tries its kernels out"


@pytest.mark.parametrize(("scale", "value"), [("dynamic", "dynamic"), (1024.0, "1024, constant")])
def test_the_loss_scale_is_said_with_the_steps_that_it_cost(scale, value):
    found = facts(make_plan(loss_scale=scale))["loss scale"]
    assert found == (value, "8192 at the end, 3 steps skipped")
    assert "loss scale" not in facts(make_plan())


def test_what_giving_back_the_cache_cost_and_brought_is_said():
    plan, cleared = make_plan(empty_cache_every=50), CacheClearings(count=4, seconds=0.2, given_back_bytes=4 * GIB)
    section = section_of(plan, VramTrace.of(plan, (seen("train", 4.0),), cache_clearings=cleared))
    (block,) = [block for block in section.blocks if isinstance(block, Facts)]
    (fact,) = [fact for fact in block.facts if fact.label == "cache given back"]
    assert (fact.value, fact.note) == ("every 50 steps", "4 times: 50 ms and 1.0 GiB each time")
    assert "cache given back" not in facts(make_plan())
