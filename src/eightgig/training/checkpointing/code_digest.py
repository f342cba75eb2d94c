"""The code that a training process imports, found without importing it, and a hash of it.

A finished training is taken only while this code is the same: what draws pages must stay out of it, what keeps to the
budget or gives the score of the best epoch must not. Folders get both wrong, so it is the imports that are followed:

- of a module, all that it imports, at its top and in its functions; of a package, at its top;
- of a module that also holds what training never calls (a case study says how its network is exported and judged, too),
  what it imports at its top, and in those functions alone that training begins with or that these call, by their names.

Comments, docstrings and what is for type checkers alone are no part of it. Most is read with regular expressions, in a
third of the time that the interpreter's parser takes; the tests hold them against the parser for every file of the
project, and the modules against those that trainings of every case study import.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from eightgig.core import addresses

_PACKAGE = __name__.partition(".")[0]
_ROOT = Path(__file__).parents[3]

_LONG = r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
_SHORT = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_STRING = "|".join((_LONG, _LONG.replace('"', "'"), _SHORT, _SHORT.replace('"', "'")))
_DOCSTRING = rf"(?:\A|:(?:  #[^\n]*)?(?P<indent>\n +))r?{_LONG}(?=\n)"
_FOR_TYPE_CHECKERS = r"^if TYPE_CHECKING:\n(?:(?:[ #][^\n]*)?\n)+"
_COMMENT_OR_EMPTY_LINES = r"  #[^\n]*|#[^\n]*|\n\s*(?:#[^\n]*)?(?=\n)"
# Strings are matched to be left as they are, whatever they hold.
_NO_CODE_OR_STRING = re.compile(
    f"(?P<docstring>{_DOCSTRING})|(?P<string>{_STRING})|(?P<checked>{_FOR_TYPE_CHECKERS})|{_COMMENT_OR_EMPTY_LINES}",
    re.DOTALL | re.MULTILINE,
)
_IMPORT = re.compile(r"^[ \t]*(?:import ([\w.]+)|from ([\w.]+) import (\([^)]*\)|.*))", re.MULTILINE)
_MEMBER = re.compile(r"(\w+)(?:\s+as\s+\w+)?")  # what it is called here plays no part


@cache
def code_digest(called: tuple[str, ...], case: type | None = None) -> str:
    """Return a hash of the code that a training imports.

    Args:
        called: `package.module:function` or `package.module:Class.method` that it begins with.
        case: class of the object whose methods these call.
    """
    digest = hashlib.sha256()
    for module in imported_modules(called, case):
        digest.update(f"{module}\0{_code(module)}\0".encode())
    return digest.hexdigest()[:16]


def address_of(function: Callable[..., Any]) -> str:
    """Return the address, as `code_digest` takes it, of a function, or of the one that it is defined in."""
    return addresses.address_of(function).partition(".<locals>")[0]


def imported_modules(called: tuple[str, ...], case: type | None = None) -> tuple[str, ...]:
    """Return the names of these modules, sorted: of this project, and those that define the case.

    Args:
        called: as `code_digest` takes it.
        case: likewise.
    """
    begun = [address.partition(":")[0] for address in called]
    begun += [kind.__module__ for kind in (case.__mro__ if case else ())]
    narrow = _only_called(
        [module for module in dict.fromkeys(begun) if _path(module)],
        {address.rpartition(":")[2].rpartition(".")[2] for address in called},
    )
    found, todo = set[str](), list(narrow)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += _imports(narrow.get(module) or _all_that_runs(module))
            todo += filter(_path, [module.rpartition(".")[0]])
    return tuple(sorted(found))


def _all_that_runs(module: str) -> str:
    """Return the code of a module; of a package what runs when it is passed on the way to one of its modules."""
    path = _path(module)
    return _only_called([module], set())[module] if path and path.name == "__init__.py" else _code(module)


def _only_called(modules: list[str], names: set[str]) -> dict[str, str]:
    """Return the code of modules without functions that neither have one of the names nor are called from one."""
    idle = {module: list(_functions(ast.parse(_code(module)))) for module in modules}
    while called := {function for functions in idle.values() for function in functions if function.name in names}:
        idle = {module: [one for one in functions if one not in called] for module, functions in idle.items()}
        names = names | {name for function in called for name in _names(function)}
    return {module: _without(functions, _code(module)) for module, functions in idle.items()}


def _without(functions: Iterable[ast.FunctionDef], code: str) -> str:
    """Return code with nothing in these functions: their first lines are left, which import nothing."""
    lines = code.splitlines()
    for function in functions:
        for number in range(function.lineno, function.end_lineno or 0):
            lines[number] = ""
    return "\n".join(lines)


def _functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("__"):
            yield inner
        elif isinstance(inner, ast.ClassDef):
            yield from _functions(inner)


def _names(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.id if isinstance(node, ast.Name) else node.attr


def _imports(code: str) -> Iterator[str]:
    """Yield this project's modules that code imports, as `import a.b`, `from a.b import c` or `from a import b`."""
    for whole, module, members in _IMPORT.findall(code):
        name = whole or module
        if name.partition(".")[0] == _PACKAGE and (path := _path(name)):
            yield name
            if path.name == "__init__.py":
                inner = (f"{name}.{member}" for member in _MEMBER.findall(members))
                yield from filter(_path, inner)


@cache
def _path(module: str) -> Path | None:
    """Return a module's file; None where it is neither of this project nor imported from a file."""
    if module.partition(".")[0] != _PACKAGE:
        file = getattr(sys.modules.get(module), "__file__", None)
        # What Python brings (`abc` is in the line of every task) belongs to its version.
        return Path(file) if file and module.partition(".")[0] not in sys.stdlib_module_names else None
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def _code(module: str) -> str:
    """Return what runs of a module's source."""
    path = _path(module)
    return without_comments(path.read_text(encoding="utf-8")) if path else ""


def without_comments(source: str) -> str:
    """Return Python source without comments, docstrings, empty lines, and imports for type checkers."""
    return _NO_CODE_OR_STRING.sub(_left_of, source)


def _left_of(found: re.Match[str]) -> str:
    if found["docstring"]:  # an ellipsis in its place, for what has no other body
        return f":{found['indent']}..." if found["indent"] else "..."
    if found["checked"]:
        return "if TYPE_CHECKING:\n    pass\n"
    return found["string"] or ""
