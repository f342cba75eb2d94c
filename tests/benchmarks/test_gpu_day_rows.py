"""What a day with a card measures: all that is owed, in order of worth, as recipes and plans have it."""

import importlib.util
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.plans import make_plan

from eightgig.core.errors import ExportError
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.card_memory import Context
from eightgig.vram.tracing.options import StepOptions

MIB = 2**20


@pytest.fixture
def h200(bench):
    """A machine with a card of its kind."""
    changes = {"device": "cuda", "card": "NVIDIA H200", "compute_capability": (9, 0), "total_bytes": 141 * 10**9}
    context = Context(num_bytes=600 * MIB, source="measured")
    return bench.day_driver.MACHINE.model_copy(update={**changes, "context": context})


@pytest.fixture
def owed(bench):
    return bench.day_index.owed_table(bench.day_index.README.read_text(encoding="utf-8"))


def test_every_line_that_is_owed_is_brought_by_a_section_and_every_section_brings_one(bench, owed, h200, tmp_path):
    assert len(owed) > 20
    for line in owed:
        assert line.sections, line.what
        assert set(line.sections) <= set(bench.day_rows.SECTIONS), line.what
    named = {section for line in owed for section in line.sections}
    rows = bench.day_rows.all_rows(h200, tiny=False, stores=tmp_path)
    assert named == set(bench.day_rows.SECTIONS) == {row.section for row in rows}


def test_a_page_without_the_table_is_refused(bench):
    with pytest.raises(ValueError, match="no table below `## GPU rows`"):
        bench.day_index.owed_table("# Results\n")


def test_the_state_of_what_is_owed_names_what_is_missing(bench):
    index = bench.day_index
    line = index.Owed("PPO and DDP", ("agents", "distributed"), "owed")
    made = index.Index(machine=bench.day_driver.MACHINE, budget_gib=8, date="")
    made = made.with_row("agents: PPO", index.RowState(section="agents", state="measured"))
    made = made.with_row("distributed: DDP", index.RowState(section="distributed", state="not run", why="one card"))
    said = made.with_owed([line]).owed["PPO and DDP"]
    assert said == "measured: 1 of 2 rows (distributed: DDP: not run, one card)"
    empty = index.Index(machine=bench.day_driver.MACHINE, budget_gib=8, date="").with_owed([line])
    assert empty.owed["PPO and DDP"].startswith("not run")


def test_rows_come_in_the_order_of_their_worth(bench, h200, tmp_path):
    rows = bench.day_rows.all_rows(h200, tiny=False, stores=tmp_path)
    places = [bench.day_rows.SECTIONS.index(row.section) for row in rows]
    assert places == sorted(places)
    assert len({row.key for row in rows}) == len(rows)
    variants = [row.case.variant for row in rows if row.section == "memory"]
    assert list(dict.fromkeys(variants)) == [
        "as planned",
        "amp",
        "amp, checkpointing",
        "fp32",
        "amp, cuDNN attention",
    ]
    recipes = [row.name for row in rows if row.section == "recipes"]
    assert recipes == list(bench.gpu_cases.recipe_names())
    assert set(recipes) == set(bench.day_jobs.STUDIES)


def test_what_a_card_cannot_do_is_a_row_that_says_so(bench, h200, tmp_path):
    rows = {row.section: row for row in bench.day_rows.all_rows(h200, tiny=False, stores=tmp_path)}
    assert bench.day_rows.refusal(rows["engines"], {}) == "hardware: TensorRT for RTX has no kernels for NVIDIA H200"
    assert bench.day_rows.refusal(rows["distributed"], {}).startswith(("hardware: wants two cards", "run `kedro"))
    assert bench.day_rows.refusal(rows["agents"], {"gymnasium": ""}) == "package: gymnasium not here"
    assert bench.day_rows.refusal(rows["memory"], {}) is None


def test_a_rehearsal_has_the_same_sections_without_a_gpu(bench, tmp_path):
    rows = bench.day_rows.all_rows(bench.day_driver.MACHINE, tiny=True, stores=tmp_path)
    assert {row.section for row in rows} == set(bench.day_rows.SECTIONS)
    assert all(row.arguments.get("device", "cpu") == "cpu" for row in rows)


def test_all_work_is_there(bench, h200, tmp_path):
    for row in bench.day_rows.all_rows(h200, tiny=False, stores=tmp_path):
        if row.work:
            module, _, name = row.work.partition(":")
            assert callable(getattr(__import__(module), name)), row.key


def test_a_recipe_is_the_cards_own_but_for_weights_from_the_network(bench):
    made = bench.day_jobs.recipe_of("text_generator", device="cuda")
    assert (made.model.name, made.model.weights, made.model.max_tokens) == ("gpt2-medium", "none", 1024)
    assert made.model.config == {}  # conf/base has a small one, which conf/rtx3070 empties
    assert (made.train.batch_size, made.train.gradient_accumulation_steps, made.plan.precision) == (4, 4, "fp16")
    flowers = bench.day_jobs.recipe_of("flower_classifier", device="cuda", epochs=2)
    assert (flowers.model.name, flowers.model.image_size, flowers.train.epochs) == ("efficientnet_b3", 300, 2)
    assert flowers.plan.precision == "fp16"


def test_the_levers_are_recipes_that_the_planner_takes(bench):
    for name in bench.day_jobs.LEVERS:
        made = bench.day_jobs.recipe_of("text_generator", device="cuda", lever=name)
        if "backward" in name:
            assert made.plan.optimizer_in_backward == "always"
            assert (made.train.gradient_accumulation_steps, made.train.max_grad_norm, made.plan.precision) == (
                1,
                None,
                "bf16",
            )
        assert (made.train.optimizer == "adamw8bit") is name.startswith("8-bit")


def test_nothing_of_a_plan_is_left_behind_on_its_way_to_a_step(bench):
    plan = make_plan(
        micro_batch=3,
        gradient_accumulation_steps=5,
        precision="bf16",
        attention="eager",
        optimizer="adamw8bit",
        optimizer_kernel="fused",
        optimizer_in_backward=True,
        activation_checkpointing="full",
        offload=True,
        memory_format="channels_last",
    )
    made = StepOptions.of(plan, clips_gradients=False)
    shared = StepOptions.model_fields.keys() & MemoryPlan.model_fields.keys()
    plain = StepOptions(micro_batch=1)
    for name in shared:
        assert getattr(made, name) == getattr(plan, name), name
        assert getattr(made, name) != getattr(plain, name), f"{name}: the test does not change it"
    assert (made.accumulates, made.channels_last, made.clips_gradients) == (True, True, False)


def test_a_step_with_the_optimizer_in_the_backward_pass_leaves_no_gradient(bench):
    weights = torch.nn.Linear(3, 1)
    before = weights.weight.detach().clone()
    workload = SimpleNamespace(
        module=weights,
        batch=lambda n: torch.ones(n, 3),
        loss=lambda module, batch: module(batch).sum(),
        checkpoint=lambda module, _: module,
    )
    options = StepOptions(micro_batch=2, optimizer_in_backward=True, clips_gradients=False)
    training = bench.gpu_training.Training(workload, options, gradient_accumulation_steps=1, device="cpu")
    training._optimizer.zero_grad = lambda **_: pytest.fail("gradients were there to be dropped")
    training.step()
    assert weights.weight.grad is None
    assert not torch.equal(weights.weight, before)


def test_runners_look_at_what_is_installed_first_and_keep_each_row(bench, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(bench.runners, "find_spec", lambda name: None if name == "onnxslim" else find(name))
    assert bench.runners.missing("cpu") == {"ONNX Runtime fp32": "package: onnxslim not here"}

    class Stub:
        def __init__(self, fails=False):
            self.fails = fails

        def __enter__(self):
            if self.fails:
                raise ExportError("no compiler")
            return self

        def __exit__(self, *_):
            pass

    seen = []
    monkeypatch.setattr(bench.runners, "TorchRunner", lambda *_: Stub())
    monkeypatch.setattr(bench.runners, "build", lambda *_: None)
    monkeypatch.setattr(bench.runners, "openings", lambda *_, **__: [("a", Stub), ("b", lambda: Stub(fails=True))])
    monkeypatch.setattr(bench.runners, "beside", lambda *_: {"by_batch_size": {}})
    rows = bench.runners.measure(
        "resnet50", "cpu", None, compiles=True, keep=lambda rows: seen.append(sorted(rows)), side=32
    )
    assert seen == [["ONNX Runtime fp32", "a"], ["ONNX Runtime fp32", "a", "b"]]
    assert rows["b"] == {"problem": "ExportError: no compiler"}


def test_the_onnx_files_of_the_runners_can_be_made(bench, monkeypatch):
    monkeypatch.setattr(
        bench.runners, "build", lambda *_: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    )
    feeds = {"images": np.zeros((1, 3, 2, 2), dtype=np.float32)}
    opened = dict(bench.runners.onnx_openings("resnet50", feeds, "cpu"))
    with opened["ONNX Runtime fp32"]() as runner:
        assert runner.run(feeds)["logits"].shape == (1, 2)


def test_onnx_runtime_without_cuda_is_a_row_that_says_so(bench, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    said = bench.runners.missing("cuda")
    assert set(said) == {"ONNX Runtime fp32", "ONNX Runtime fp16"}
    assert "this build of onnxruntime has no CUDAExecutionProvider" in said["ONNX Runtime fp16"]


def test_the_wheels_are_those_of_the_lock_file_and_small_enough(project_path):
    text = (project_path / "benchmarks" / "gpu_wheels.txt").read_text()
    wheels = re.findall(r"^([a-z-]+)==([0-9.]+) *# +([0-9.]+) MiB", text, re.MULTILINE)
    lock = (project_path / "requirements.lock").read_text()
    assert len(wheels) > 10
    for name, version, _ in wheels:
        assert re.search(rf"^{name}=={re.escape(version)}\b", lock, re.MULTILINE), name
    assert sum(float(size) for _, _, size in wheels) < 40  # of 64 with the repository


def test_gpu_marked_tests_alone_are_imported_when_they_alone_are_asked_for(project_path, request):
    conftest = next(
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if getattr(plugin, "__file__", None) == str(project_path / "tests" / "conftest.py")
    )
    marked, plain = (project_path / "tests" / "vram" / f"test_{name}.py" for name in ("calibrate", "scaling"))

    def ignored(path, expression):
        return conftest.pytest_ignore_collect(path, SimpleNamespace(option=SimpleNamespace(markexpr=expression)))

    assert ignored(plain, "gpu") is True
    assert ignored(marked, "gpu") is None
    assert ignored(plain, "not slow") is None
    assert ignored(project_path / "tests", "gpu") is None


def test_what_tests_came_to_is_kept_one_by_one_and_what_passed_is_not_run_again(bench, tmp_path):
    watch, seen = bench.day_tests.Watch(tmp_path / "tests.jsonl"), []
    watch.keep = seen.append
    for name, outcome in (("a", "passed"), ("b", "failed"), ("c", "skipped")):
        report = SimpleNamespace(
            when="call", outcome=outcome, passed=outcome == "passed", nodeid=name, longrepr="why", duration=0.1
        )
        watch.pytest_runtest_logreport(report)
    assert seen[-1]["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert watch.verdict(1) == {"failed": "1 failed, 0 files not collected"}
    again, left_out = bench.day_tests.Watch(tmp_path / "tests.jsonl"), []
    items = [SimpleNamespace(nodeid=name) for name in "abc"]
    config = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda **found: left_out.extend(found["items"])))
    again.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["b", "c"]
    assert [item.nodeid for item in left_out] == ["a"]
    again.pytest_collectreport(SimpleNamespace(failed=True, nodeid="d.py", longrepr="x\nNo module named 'kedro'"))
    assert again.value()["not_collected"] == ["d.py: No module named 'kedro'"]


def test_calibration_is_rehearsed_with_every_kind_of_op_and_writes_its_files(bench, tmp_path):
    made = bench.day_card.calibration(str(tmp_path / "constants.json"), device="cpu", tiny=True)(None)
    assert made["constants"]["attention_backward_accumulator"] in (0, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made["files"])
