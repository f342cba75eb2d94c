"""What no line of the source may do; each rule is tried on lines that break it."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "eightgig"
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}

# Unpicklers of this project's own, which import nothing of a file; the pipe to a child process of its own; and a
# function or module of this program that goes through that pipe (no data bring one: tests/vram/test_own_functions.py).
MAY_IMPORT_PICKLE = {
    "fitting/live.py",
    "tasks/detection/pickled_network.py",
    "vram/allocator/snapshot_file.py",
    "vram/tracing/child.py",
    "vram/tracing/spec.py",
}
MAY_LOAD_PICKLES = {"vram/tracing/child.py", "vram/tracing/spec.py"}
MAY_OPEN_HDF5 = {"data/store/foreign.py"}
# Of files that they have just written themselves into a temporary folder.
MAY_LOAD_ONNX_BY_PATH = {
    "export/onnxruntime_runner.py",
    "export/int8/calibration.py",
    "export/int8/dynamic.py",
}
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "jsonpickle"}
FOREIGN_YOLO = {"ultralytics", "yolov5", "models.yolo"}


class Call(NamedTuple):
    """A call in the source: its dotted name as it is written, and its keyword arguments."""

    name: str
    keywords: dict[str, ast.expr]
    arguments: list[ast.expr]


def calls(tree: ast.AST) -> Iterator[Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = {word.arg: word.value for word in node.keywords if word.arg}
            yield Call(ast.unparse(node.func), named, node.args)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_constant(value: ast.expr | None, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def torch_load(path: str, tree: ast.AST) -> Iterator[str]:
    """Always with an explicit weights_only=True: an environment variable can switch the default off."""
    for call in calls(tree):
        if call.name == "torch.load" and not is_constant(call.keywords.get("weights_only"), True):
            yield "torch.load without weights_only=True"
        if call.name.startswith(("torch.jit.load", "torch.package.", "torch.hub.")) or call.name.endswith(
            ("read_pickle", "load_pickle")
        ):
            yield f"{call.name} runs what is in a file"
        if is_constant(call.keywords.get("allow_pickle"), True) or is_constant(
            call.keywords.get("weights_only"), False
        ):
            yield f"{call.name} is told to run what is in a file"


def pickles(path: str, tree: ast.AST) -> Iterator[str]:
    """No pickles but in unpicklers that import nothing; none are loaded but from a pipe of our own."""
    for name in imports(tree):
        if name.split(".")[0] in PICKLING and path not in MAY_IMPORT_PICKLE:
            yield f"imports {name}"
    for call in calls(tree):
        if call.name in {"pickle.load", "pickle.loads", "pickle.Unpickler"} and path not in MAY_LOAD_PICKLES:
            yield call.name


def hdf5(path: str, tree: ast.AST) -> Iterator[str]:
    """HDF5 files are opened in one place, which refuses what leads elsewhere; writers have a class of their own."""
    for call in calls(tree):
        if call.name in {"h5py.File", "File"} and path not in MAY_OPEN_HDF5:
            yield f"{call.name}: use open_foreign, or HDF5Output to write"


def archives(path: str, tree: ast.AST) -> Iterator[str]:
    """Archives are unpacked with the filter for data; torchvision's unpacking has no limits."""
    for call in calls(tree):
        name = call.name.rpartition(".")[2]
        if name in {"extract_archive", "download_and_extract_archive", "unpack_archive"}:
            yield f"{name} unpacks without limits"
        kept = call.keywords.get("filter")
        if name in {"extractall", "extract"} and not (isinstance(kept, ast.Constant) and kept.value == "data"):
            yield f"{name} without filter='data'"


def onnx_files(path: str, tree: ast.AST) -> Iterator[str]:
    """ONNX files are loaded from bytes, so that nothing beside them is read; every session says where it runs."""
    for call in calls(tree):
        if call.name == "onnx.load" and path not in MAY_LOAD_ONNX_BY_PATH:
            yield "onnx.load reads what lies beside the file: use load_onnx"
        if call.name.endswith("InferenceSession") and "providers" not in call.keywords:
            yield "a session without providers runs wherever it can"
        if call.name.endswith("register_custom_ops_library"):
            yield "a library of operators is code"


def transformers(path: str, tree: ast.AST) -> Iterator[str]:
    """No code of the Hub, a pinned revision, safetensors only."""
    for call in calls(tree):
        if any(is_constant(call.keywords.get(name), True) for name in ("trust_remote_code", "use_auth_token")):
            yield f"{call.name} trusts the code of a checkpoint"
        owner, _, method = call.name.rpartition(".")
        if method != "from_pretrained":
            continue
        if not is_constant(call.keywords.get("trust_remote_code"), False):
            yield f"{call.name} without trust_remote_code=False asks the user instead"
        if "revision" not in call.keywords:
            yield f"{call.name} without the revision"
        is_weights = not owner.endswith(("Config", "Tokenizer", "TokenizerFast"))
        if is_weights and not is_constant(call.keywords.get("use_safetensors"), True):
            yield f"{call.name} without use_safetensors=True may read a pickle"


def texts(path: str, tree: ast.AST) -> Iterator[str]:
    """YAML as plain texts; images by named formats, as some of Pillow's readers call programs of the system."""
    for call in calls(tree):
        if call.name in {"yaml.load", "yaml.load_all"} and not _is_safe_loader(call.keywords.get("Loader")):
            yield f"{call.name} without a safe Loader"
        if call.name in {"yaml.unsafe_load", "yaml.full_load"}:
            yield call.name
        if call.name == "Image.open" and "formats" not in call.keywords:
            yield "Image.open without formats"


def _is_safe_loader(loader: ast.expr | None) -> bool:
    return loader is not None and ast.unparse(loader) in {"yaml.BaseLoader", "yaml.SafeLoader", "yaml.CSafeLoader"}


def foreign_code(path: str, tree: ast.AST) -> Iterator[str]:
    """YOLOv5's own code is AGPL-3.0: nothing of it is imported."""
    for name in imports(tree):
        if name.split(".")[0] in FOREIGN_YOLO:
            yield f"imports {name}"
    for call in calls(tree):
        if call.name.startswith("torch.hub"):
            yield f"{call.name} runs the code of a repository"


Rule = Callable[[str, ast.AST], Iterator[str]]
RULES: dict[Rule, tuple[str, ...]] = {
    torch_load: (
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
    ),
    pickles: ("import joblib", "from pickle import loads", "import dill as safe", "pickle.loads(data)"),
    hdf5: ("h5py.File(path)", "File(path, 'w')"),
    archives: ("tar.extractall(folder)", "torchvision.datasets.utils.extract_archive(a, b)", "z.extractall(f)"),
    onnx_files: ("onnx.load(path)", "onnxruntime.InferenceSession(data)"),
    transformers: (
        "AutoConfig.from_pretrained(name, revision=r)",
        "AutoTokenizer.from_pretrained(name, trust_remote_code=False)",
        "AutoModel.from_pretrained(name, trust_remote_code=False, revision=r)",
        "AutoModel.from_pretrained(name, trust_remote_code=True, revision=r, use_safetensors=True)",
    ),
    texts: ("yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "Image.open(path)"),
    foreign_code: ("import ultralytics", "from yolov5 import train", "torch.hub.load('ultralytics/yolov5', 'yolov5s')"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule):
    found = [f"{path}: {fault}" for path, tree in TREES.items() for fault in rule(path, tree)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "line"),
    [(rule, line) for rule, lines in RULES.items() for line in lines],
    ids=lambda value: value[:60] if isinstance(value, str) else value.__name__,
)
def test_the_rule_finds_what_breaks_it(rule, line):
    assert list(rule("somewhere.py", ast.parse(line)))


@pytest.mark.parametrize("allowed", [MAY_IMPORT_PICKLE, MAY_LOAD_PICKLES, MAY_OPEN_HDF5, MAY_LOAD_ONNX_BY_PATH])
def test_exceptions_are_for_files_that_are_there(allowed):
    assert allowed <= set(TREES)
