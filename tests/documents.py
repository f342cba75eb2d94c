"""What the documents say to type: their fenced blocks, and commands in a line of text."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[1]
SHELLS = ("bash", "console", "powershell")
_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_IN_TEXT = re.compile(r"(?<!`)`((?:kedro|eightgig|make|mlflow) [^`]+)`(?!`)")
_BESIDE_FILES = re.compile(r"\bkedro run .*$", re.MULTILINE)  # in a list of files: what each is given to
_ASSIGNMENT = re.compile(r"^([A-Z]+)=(\S+)$", re.MULTILINE)


class Command(NamedTuple):
    """One command of a document, as words; a comment behind it is left out."""

    place: str
    words: tuple[str, ...]


def documents() -> list[Path]:
    """Return all documents of the project, but for what is past: changes, and decisions with the words of their day."""
    pages = [path for path in (PROJECT / "docs").rglob("*.md") if path.parent.name != "decisions"]
    return [PROJECT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")] + sorted(pages)


def blocks(path: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a document that are in one of the languages; "" is a block that names none."""
    found = _FENCE.finditer(path.read_text(encoding="utf-8"))
    return [block["text"] for block in found if block["language"] in languages]


def commands() -> Iterator[Command]:
    """Yield every command of every document, each once."""
    seen = set()
    for path in documents():
        lines = [line for block in blocks(path, *SHELLS) for line in _lines(block)]
        lines += [line for block in blocks(path, "") for line in _BESIDE_FILES.findall(block)]
        prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
        for line in lines + _IN_TEXT.findall(prose):
            for words in _split(line):
                if words not in seen:
                    seen.add(words)
                    yield Command(path.name, words)


def _lines(block: str) -> list[str]:
    """Return a block's lines; variables that it sets itself are put in, others of the shell are 1."""
    for name, value in _ASSIGNMENT.findall(block):
        block = block.replace(f"'${name}'", value)
    return re.sub(r"\$[A-Z_]+", "1", block).splitlines()


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a line, without what is set for them, and without what the shell itself does."""
    line = line.strip().removeprefix("exec ")
    if line.count("'") % 2:  # it ends what a line above began
        line = line.removesuffix("'")
    for part in re.split(r";|&&", re.sub(r"(^|\s)#.*$", "", line)):
        words = shlex.split(part)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words:
            yield tuple(words)
