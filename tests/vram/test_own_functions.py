"""Functions of a notebook or a script: sent by value, and never a process that starts another without end."""

import base64
import pickle
import subprocess
import sys

import pytest
from pydantic import ValidationError

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import MIB
from eightgig.vram.tracing.predictor import predict_memory
from eightgig.vram.tracing.spec import WorkloadSpec

MAKE = """
import torch
from eightgig import predict_memory
from eightgig.core.errors import PredictionError

WIDTH = 1024

def make():
    module = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    return module, lambda net, batch: net(batch).sum(), lambda n: torch.zeros(n, WIDTH)

"""
ENDLESS_SECONDS = 300  # a prediction starts one process, which takes 15 s; without end there is no limit that is enough


def run(folder, text):
    script = folder / "rec.py"
    script.write_text(MAKE + text)
    command = [sys.executable, script]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=ENDLESS_SECONDS, cwd=folder
    ).stdout


@pytest.mark.parametrize("network", ["make", "'__main__:make'"])
def test_a_function_of_the_program_itself_is_traced_without_a_guard(tmp_path, network):
    said = run(tmp_path, f"print(predict_memory({network}, 1).at_peak['parameters'])")
    assert said == f"{4 * MIB}\n"


def test_a_script_that_imports_itself_ends_and_says_how_to_guard(tmp_path):
    caught = "except PredictionError as error:\n    print(error)\n    raise SystemExit"
    said = run(tmp_path, f"try:\n    predict_memory('rec:make', 1)\n{caught}")
    assert said.endswith("predicts itself, when it is imported: guard the call by if __name__ == '__main__'\n")


def test_a_closure_is_sent_with_what_it_holds():
    width = 512

    def make():
        from torch import nn, zeros

        return nn.Linear(width, width, bias=False), lambda net, batch: net(batch).sum(), lambda n: zeros(n, width)

    assert predict_memory(make, 1).at_peak["parameters"] == MIB


def test_what_is_no_function_or_cannot_be_sent():
    from torch import nn

    with pytest.raises(ConfigurationError, match=r"the model is a Linear; expected a function that makes module, loss"):
        WorkloadSpec.of(nn.Linear(1, 1))
    with pytest.raises(ConfigurationError, match=r"'__main__' has no function 'no_such': write the model as package"):
        WorkloadSpec.of("__main__:no_such")
    opened = (number for number in range(3))
    with pytest.raises(ConfigurationError, match=r"cannot be sent to the process that predicts .*: put it into a mod"):
        WorkloadSpec.of(lambda: opened)


class Dangerous:
    """Would make a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("field", ["function", "_pickled"])
def test_no_data_bring_a_function(field, tmp_path):
    code = pickle.dumps(Dangerous(tmp_path / "made"))
    for value in (code, base64.b64encode(code).decode(), code.decode("latin-1")):
        with pytest.raises((ConfigurationError, ValidationError)):
            WorkloadSpec.model_validate({"factory": "json:dumps", field: value}).build()
    assert list(tmp_path.iterdir()) == []
