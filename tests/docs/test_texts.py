"""What the documents hold besides commands: links that lead somewhere, messages and codes that the code says."""

import ast
import re
from pathlib import Path

import pytest
from tests.documents import PROJECT, blocks, documents

_BESIDE = [PROJECT / name for name in ("CHANGELOG.md", "SECURITY.md", "data/README.md", "benchmarks/results/README.md")]
ALL = [*documents(), *sorted((PROJECT / "docs" / "decisions").glob("*.md")), *_BESIDE]
_LINK = re.compile(r"\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_CODE = re.compile(r"\b(?:VRAM|DOC)\d{3}\b")


def anchors(path: Path) -> set[str]:
    """Return what GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path):
    lost = []
    for link in _LINK.finditer(path.read_text("utf-8")):
        target = path.parent / link["path"] if link["path"] else path
        if not target.exists() or (link["anchor"] and link["anchor"] not in anchors(target)):
            lost.append(link[0])
    assert lost == []


def test_an_anchor_is_that_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A b\n\n## Videos (`object_detector`, `--tags video`)\n\n```\n# no heading\n```\n")
    assert anchors(page) == {"a-b", "videos-object_detector---tags-video"}


def texts_of_the_code() -> str:
    """Return every text of the code, those of formatted texts up to where a value comes in."""
    found = []
    for path in (PROJECT / "src").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        found += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(found)


def test_messages_that_are_explained_are_those_of_the_code():
    page = (PROJECT / "docs" / "troubleshoot.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?) \| ", page, re.M)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    code = texts_of_the_code()
    assert len(messages) > 25
    assert [message for message in messages if message not in code] == []


def test_the_index_of_codes_is_what_the_code_says(codes):
    said = (PROJECT / "docs" / "codes.md").read_text("utf-8")
    assert said == codes.page(), "make docs writes it anew"
    assert set(_CODE.findall(texts_of_the_code())) == set(re.findall(r"^\| (\w+\d{3}) \|", said, re.M))


def test_the_readme_is_short_and_so_are_its_pictures():
    readme = (PROJECT / "README.md").read_text("utf-8")
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", readme)
    assert len(readme.split()) <= 950
    assert len(pictures) == 3
    assert [name for name in pictures if (PROJECT / name).stat().st_size > 300_000] == []


def test_the_chinese_readme_says_the_same():
    """The same commands, pictures and pages, in the same order."""
    english, chinese = PROJECT / "README.md", PROJECT / "README.zh-CN.md"

    def outline(path):
        text = path.read_text("utf-8")
        links = [name for name in re.findall(r"\]\((.+?)\)", text) if not name.startswith("README")]
        code = [re.sub(r" *#.*$", "", block, flags=re.M) for block in blocks(path, "bash", "python")]
        return links, code, re.findall(r"^#+", text, re.M)

    assert outline(english) == outline(chinese)


@pytest.mark.whole
def test_the_lines_of_python_run(run_script):
    (lines,) = blocks(PROJECT / "README.md", "python")
    said = run_script(lines)
    assert re.search(r"^\d+\.\d+ GiB \{'parameters': ", said, re.M)
    assert "of 7.5 GiB usable on a 8 GiB card: fits" in said


@pytest.fixture
def run_script(tmp_path):
    """Runs a script in a folder of its own, and returns what it says."""
    import subprocess
    import sys

    def run(text: str) -> str:
        (tmp_path / "ask.py").write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, "ask.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    return run


def test_sections_of_the_reference_are_the_public_names():
    import eightgig

    page = (PROJECT / "docs" / "reference" / "index.md").read_text("utf-8")
    shown = set(re.findall(r"^::: (.+)$", page, re.M))
    homes = {f"{home}.{name}" for name, home in eightgig._HOMES.items() if name != "EightgigError"}
    assert homes <= shown
    assert "eightgig.core.errors" in shown  # with EightgigError, and all that are raised
