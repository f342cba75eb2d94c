"""`eightgig fit` needs torch and a few small packages: what is not among them is kept from being imported."""

import re
import subprocess
import sys
import tomllib

import pytest

# Beside the names that pip knows them by.
_IMPORTED_AS = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyvips[binary]": "pyvips",
    "gymnasium[classic-control]": "gymnasium",
    "scikit-learn": "sklearn",
}
_BLOCKER = """
import sys
from importlib.machinery import PathFinder


class Blocker(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Blocker if finder is PathFinder else finder for finder in sys.meta_path]
"""
_SAYS_WHAT_IS_IMPORTED = """
import sys
from eightgig.cli import main
status = main(sys.argv[1:])
print("imported:" + ",".join(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(status)
"""
_MY_MODEL = """
import sys
import torch
def make():
    print("child:" + ",".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
    return torch.nn.Linear(64, 64), lambda net, x: net(x).mean(), lambda n: torch.zeros(n, 64)
"""


def blocked_names(project_path):
    project = tomllib.loads((project_path / "pyproject.toml").read_text("utf-8"))["project"]
    named = [re.split(r"[><=;]", each)[0].strip() for each in project["optional-dependencies"]["pipelines"]]
    modules = {_IMPORTED_AS.get(name, name).replace("-", "_") for name in named}
    return modules | {"peft", "bitsandbytes", "sklearn"}


@pytest.fixture
def ask(project_path, tmp_path):
    """Returns what the command says where only the light set is there."""
    (tmp_path / "sitecustomize.py").write_text(_BLOCKER.format(blocked=blocked_names(project_path)), "utf-8")
    (tmp_path / "mymodel.py").write_text(_MY_MODEL, encoding="utf-8")

    def run(*arguments):
        path = f"{tmp_path}:{project_path / 'src'}"
        return subprocess.run(
            [sys.executable, "-c", _SAYS_WHAT_IS_IMPORTED, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            check=False,
        )

    return run


def test_it_answers_with_the_light_set_alone(ask):
    done = ask("fit", "mymodel:make")
    assert done.returncode == 0, done.stderr
    imported = done.stdout.partition("imported:")[2].strip().split(",")
    assert {"kedro", "mlflow", "onnxruntime", "torch", "pandas", "transformers"}.isdisjoint(imported)
    assert "pydantic" in imported


def test_a_library_that_a_network_asks_for_is_named_where_it_is_missing(ask, tmp_path):
    for what, library in (("torchvision:resnet18", "torchvision"), ("timm:resnet18", "timm"), (".", "transformers")):
        done = ask("fit", what)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith(f"needs {library}, which is not installed: pip install {library}")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("cards",), ("cards", "--json"), ("doctor",)])
def test_other_commands_need_no_more(ask, command):
    done = ask(*command)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def test_the_blocker_blocks(ask, tmp_path):
    (tmp_path / "mymodel.py").write_text("import kedro\n" + _MY_MODEL, encoding="utf-8")
    assert ask("fit", "mymodel:make").returncode == 2


def test_the_light_set_is_small(project_path):
    """Each is asked for by what the command does; a further one is a decision."""
    project = tomllib.loads((project_path / "pyproject.toml").read_text("utf-8"))["project"]
    named = {re.split(r"[><=;]", each)[0].strip() for each in project["dependencies"]}
    assert named == {"cloudpickle", "filelock", "nvidia-ml-py", "psutil", "pydantic", "rich", "torch"}
