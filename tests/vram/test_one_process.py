"""Steps traced without a child process: the same traces, torch put back, and a debugger inside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eightgig.vram.tracing import timeline

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "memory.md"


def run(folder, *arguments):
    """Run Python on what is in `folder`, with the small networks at hand."""
    path = os.pathsep.join([str(folder), str(HERE), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found():
    return json.loads(run(HERE, "-W", "ignore", "one_process.py"))


def test_traces_are_those_of_the_child_event_for_event(found):
    assert found["differing"] == []


def test_torch_computes_as_before_when_the_fake_device_is_gone(found):
    assert found["is_put_back"]
    assert found["trains_as_before"]


def test_optimizers_step_as_before_while_it_is_there(found):
    assert found["trains_inside_as_before"]


def test_after_a_backward_pass_it_is_refused_with_the_way_out(tmp_path):
    code = (
        "import torch; torch.ones(1, requires_grad=True).sum().backward()\n"
        "from eightgig.core.errors import PredictionError\n"
        "from eightgig import predict_memory\n"
        "try: predict_memory('tiny_workloads:perceptron', 1, in_process=True)\n"
        "except PredictionError as error: print(error)\n"
    )
    assert "Trace before anything is trained, or in a child process" in run(tmp_path, "-W", "ignore", "-c", code)


def test_a_debugger_stops_inside_a_trace_by_the_lines_of_the_docs(tmp_path):
    section = DOCS.read_text(encoding="utf-8").partition("## How to look inside")[2].partition("\n## ")[0]
    _, script, _, command, _ = section.split("```", maxsplit=4)
    script = script.removeprefix("python\n").replace("mymodel:make", "tiny_workloads:perceptron")
    (tmp_path / "look.py").write_text(script, encoding="utf-8")
    assert command.removeprefix("bash\n").strip() == "CUDA_VISIBLE_DEVICES=-1 python -m pdb look.py"
    line = next(
        number
        for number, text in enumerate(Path(timeline.__file__).read_text(encoding="utf-8").splitlines(), start=1)
        if text.lstrip().startswith("marks = ")
    )
    stop = ["-c", f"b {timeline.__file__}:{line}", "-c", "c", "-c", "p len(trace.events) > 10", "-c", "q"]
    said = run(tmp_path, "-W", "ignore", "-m", "pdb", *stop, "look.py")
    assert "timeline.py" in said.partition("Breakpoint 1")[2]
    assert "True" in said.splitlines()
