"""The code that a training imports, as it is read without the parser, and what changes its hash."""

import ast
from pathlib import Path

import pytest

from eightgig.training.checkpointing import code_digest
from eightgig.training.checkpointing.code_digest import address_of, imported_modules, without_comments

BEGUN = ("eightgig.tasks.reinforcement.trainer:train_agent",)


class _WhatRuns(ast.NodeTransformer):
    """Puts an ellipsis for docstrings, and nothing for imports that type checkers alone read."""

    def visit(self, node):
        self.generic_visit(node)
        with_docstring = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, with_docstring) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Expr(ast.Constant(...))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return node


def parsed(source):
    return _WhatRuns().visit(ast.parse(source))


def imported(tree):
    """Return what the parser finds imported of the project: the modules, and each name that may be one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.partition(".")[0] == "eightgig" and code_digest._path(name)}


def test_what_is_read_of_every_file_is_what_the_parser_reads(project_path):
    paths = [*(project_path / "src").rglob("*.py"), Path(__file__)]
    assert len(paths) > 200
    for path in paths:
        source = path.read_text(encoding="utf-8")
        read, runs = without_comments(source), parsed(source)
        assert ast.dump(ast.parse(read)) == ast.dump(runs), path
        assert set(code_digest._imports(read)) == imported(runs), path


@pytest.mark.parametrize(
    "source",
    [
        'x = "# no comment"  # one\n',
        "x = '''\n# no comment\n\n'''\n",
        'x = """a\\"""b # no comment\n"""\n',
        "x = {\n    1: 2,  # one\n    # another, with a quote: '\n\n    3: 4,\n}\n",
        'x = """\ndef f():\n    """  # one\n',
        "y = '''\ndef f():\n    \"\"\"No docstring.\"\"\"\n'''\n",
        'def f():  # one\n    r"""A docstring\\d."""\n    return "#"\n',
        'class A:\n    """A docstring."""\n\n\nx = 1\n',
        'x = [\n    """no docstring""",\n]\n',
        "if TYPE_CHECKING:\n    import a\n\n    from b import c  # one\n\nx = 1\n",
        "if TYPE_CHECKING:\n    import a\nelse:\n    a = 1\n",
    ],
)
def test_strings_are_left_and_all_that_is_none_goes(source):
    read = without_comments(source)
    assert ast.dump(ast.parse(read)) == ast.dump(parsed(source))
    assert "one" not in read


CODE = '''"""A module."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from a import b


def f(x):
    """A function."""
    return x + 1
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A module.", "A better\n\nmodule."),
        ("A function.", "Another one."),
        ("return x + 1", "return x + 1  # why"),
        ("    return", "    # why\n    return"),
        ("def f(x):", "def f(x):  # noqa"),
        ("\n\n\ndef", "\n\n\n\n# why\n\n\ndef"),
        ("from a import b", "from c import d\n    import e"),
    ],
)
def test_a_comment_changes_nothing(old, new):
    assert CODE.count(old) == 1
    assert without_comments(CODE.replace(old, new)) == without_comments(CODE)


@pytest.mark.parametrize(("old", "new"), [("x + 1", "x + 2"), ("x + 1", "x +  1"), ("(x)", "(x, y=1)"), ("f(", "g(")])
def test_code_changes_it(old, new):
    assert without_comments(CODE.replace(old, new)) != without_comments(CODE)


def test_of_a_module_that_training_begins_in_only_what_is_called_counts():
    assert "eightgig.training.checkpointing.checkpoint" in imported_modules(BEGUN)
    nodes = "eightgig.tasks.reinforcement.nodes"
    only = set(imported_modules((f"{nodes}:nothing",)))
    assert "eightgig.tasks.reinforcement.metrics" in only  # at its top
    assert {
        "eightgig.export.onnx",
        "eightgig.vram.planning.planner",
        "eightgig.tasks.reinforcement.train",
    }.isdisjoint(only)
    assert "eightgig.export.onnx" in imported_modules((f"{nodes}:export_policy",))
    # By way of a function that it calls.
    assert "eightgig.tasks.reinforcement.model" in imported_modules((f"{nodes}:evaluate",))
    assert f"{nodes.rpartition('.')[0]}.pipeline" not in only  # a package is only passed through


def test_a_function_within_another_has_the_address_of_the_outer_one():
    def inner():
        """Stand for a judge."""

    assert address_of(inner) == f"{__name__}:test_a_function_within_another_has_the_address_of_the_outer_one"
    assert address_of(code_digest.code_digest.__wrapped__) == "eightgig.training.checkpointing.code_digest:code_digest"
