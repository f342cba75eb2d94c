"""What `eightgig` gives to Python: each name has an example that runs, and asking for none of them costs nothing."""

import ast
import doctest
import inspect
import logging
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image
from tests.plans import make_plan
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import eightgig
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store.reader import write_store
from eightgig.data.store.tokens import TokenContent
from eightgig.models.cards import ImageCard
from eightgig.models.weights_file import Weights, save_weights

MY_MODEL = """
import torch
def make():
    module = torch.nn.Linear(1024, 10)
    return module, lambda module, batch: module(batch).mean(), lambda n: torch.zeros(n, 1024)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder as a user has it: results of runs, and a model of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mymodel.py").write_text(MY_MODEL)
    inputs = tmp_path / "data" / "05_model_input"
    _write_images(tmp_path / "photos", inputs / "flower_classifier" / "store.h5")
    _write_texts(inputs / "sentiment_classifier" / "store.h5")
    (inputs / "flower_classifier" / "memory_plan.json").write_text(make_plan().model_dump_json())
    _write_weights(tmp_path / "data" / "06_models" / "flower_classifier" / "weights.safetensors")


def _write_images(root, path):
    for number, name in enumerate(("daisy/0.png", "daisy/1.png", "rose/0.png", "rose/1.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 64, 3), 60 * number, np.uint8)).save(root / name)
    folders = scan_class_folders(root)
    manifest, _ = build_manifest(folders, DataParameters(root=str(root), min_side=16))
    path.parent.mkdir(parents=True)
    write_store(path, manifest, root, folders.classes)


def _write_texts(path):
    path.parent.mkdir(parents=True)
    words = {"good": 0, "bad": 1, "film": 2}
    texts = ("good film", "bad film")
    TokenContent(
        tokens=[[words[word] for word in text.split()] for text in texts],
        labels=[1, 0],
        texts=texts,
        num_bytes=[len(text) for text in texts],
        paths=["1.txt", "2.txt"],
        classes=("negative", "positive"),
        tokenizer_json=Tokenizer(WordLevel(words)).to_str(),
        vocab_size=len(words),
        max_tokens=8,
    ).write(path)


def _write_weights(path):
    path.parent.mkdir(parents=True)
    card = ImageCard(
        model="efficientnet_lite0",
        started_from="nothing",
        classes=("daisy", "rose"),
        image_size=64,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        best_epoch=1,
        val_score=0.5,
        num_parameters=6,
        eightgig_version="0",
        torch_version="2",
        trained_on="test",
    )
    save_weights(path, Weights({"classifier.weight": torch.ones(2, 2), "classifier.bias": torch.ones(2)}, card))


@pytest.mark.parametrize("name", eightgig.__all__)
def test_its_example_runs(project, name):
    text = inspect.getdoc(getattr(eightgig, name)) or ""
    names = {each: getattr(eightgig, each) for each in eightgig.__all__}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    logging.disable(logging.INFO)  # a search that lasts says so, where Kedro is set up on standard output
    try:
        assert runner.run(example, out=said.append).failed == 0, "".join(said)
    finally:
        logging.disable(logging.NOTSET)
    assert example.examples


def test_importing_it_imports_nothing_until_a_name_is_asked_for():
    code = (
        "import sys, eightgig\n"
        "print(sorted(name for name in sys.modules if name.startswith('eightgig')))\n"
        "print([name for name in ('torch', 'pandas', 'pydantic', 'kedro', 'numpy') if name in sys.modules])\n"
        "print(set(eightgig.__all__) <= set(dir(eightgig)), eightgig.read_plan.__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['eightgig']", "[]", "True eightgig.vram.plan"]


def test_type_checkers_see_the_names_that_are_there(project_path):
    tree = ast.parse((project_path / "src" / "eightgig" / "__init__.py").read_text(encoding="utf-8"))
    imports = next(node for node in tree.body if isinstance(node, ast.If)).body
    seen = {alias.name: node.module for node in imports if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == eightgig._HOMES
    assert sorted(seen) == sorted(eightgig.__all__)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(AttributeError, match="module 'eightgig' has no attribute 'predict_weather'"):
        getattr(eightgig, "predict_weather")  # noqa: B009 - a type checker knows that it is none


def test_the_package_says_that_it_is_typed(project_path):
    assert (project_path / "src" / "eightgig" / "py.typed").is_file()
    setuptools = tomllib.loads((project_path / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "py.typed" in setuptools["package-data"]["*"]


def test_a_plan_or_weights_that_are_not_there_are_told_so(tmp_path):
    for read, name in ((eightgig.read_plan, "plan.json"), (eightgig.load_weights, "w.safetensors")):
        with pytest.raises(eightgig.EightgigError, match=rf"{name}: wanted .* stage, or name the file that it wrote\."):
            read(tmp_path / name)
