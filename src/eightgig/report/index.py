"""The page over all pages: what each case study's last run reached, and where its page lies."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from eightgig.core.files import write_text
from eightgig.report.page import Link, Links, Page, Section

_ABOUT = re.compile(r'<script type="application/json" id="about">(.*?)</script>', re.DOTALL)
_HEAD_CHARS = 65_536  # of a page, of which the first lines say what it is about
_NAME = "report.html"


def write_index(folder: Path) -> Path:
    """Write `index.html` over the pages of the folders in a folder, the newest first, and return where."""
    from eightgig.report.html import render_page

    pages = sorted(folder.glob(f"*/{_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    index = Page(
        title="All pages",
        subtitle="What the last run of each case study reached. Earlier runs are kept in MLflow.",
        headline=(),
        sections=[Section("Case studies", "", [Links([_link(path, folder) for path in pages])])],
    )
    path = folder / "index.html"
    write_text(path, render_page(index))
    return path


def _link(path: Path, folder: Path) -> Link:
    with path.open(encoding="utf-8") as file:
        found = _ABOUT.search(file.read(_HEAD_CHARS))
    about = json.loads(found[1]) if found else {"title": path.parent.name}
    made = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    return Link(
        address=path.relative_to(folder).as_posix(),
        title=about["title"],
        text=about.get("summary") or about.get("subtitle", ""),
        note=f"{path.parent.name}, {made:%Y-%m-%d %H:%M} UTC",
    )
