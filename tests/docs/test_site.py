"""The site builds, strict, and loads nothing from elsewhere; skipped where MkDocs is not installed."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.whole
pytest.importorskip("mkdocs", reason="MkDocs is not installed: make docs")


@pytest.fixture(scope="module")
def site(project_path, tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    # An address that nobody answers at: what would be fetched is an error.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=project_path, env=environment, check=True)
    return folder


def test_every_page_is_there(site, project_path):
    pages = {path.relative_to(project_path / "docs").with_suffix("") for path in (project_path / "docs").rglob("*.md")}
    names = {"index" if path.name == "README" and str(path.parent) == "." else str(path) for path in pages}
    missing = [name for name in names if not (site / f"{name.replace('README', 'index')}.html").is_file()]
    assert missing == []
    assert (site / "project" / "CONTRIBUTING.html").is_file()


def test_pages_load_nothing_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(https?:)?//[^>]*>")
    found = [(page.name, each[0]) for page in site.rglob("*.html") for each in loaded.finditer(page.read_text("utf-8"))]
    assert [row for row in found if 'rel="canonical"' not in row[1]] == []


def test_the_reference_shows_what_there_is(site):
    page = (site / "reference" / "index.html").read_text("utf-8")
    assert 'id="eightgig.vram.tracing.predictor.predict_memory"' in page
    assert 'id="eightgig.core.errors.BudgetError"' in page
