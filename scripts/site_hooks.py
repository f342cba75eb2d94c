"""What MkDocs is told beside mkdocs.yml: pages link to files of the project that are no pages, which it would refuse.

Such a file gets a place in the site, under `project/`, and links to it lead there. A link to what is not there stays as
it is, and the strict build fails.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

PROJECT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: Any) -> Files:
    """Add each file of the project that a page links to, and what these link to in turn."""
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for link in _LINK.finditer(page.content_string):
            place = _in_site(page.src_uri, link["path"])
            if place is None or files.get_file_from_path(place):
                continue
            file = File.generated(config, place, abs_src_path=str(PROJECT / place.removeprefix("project/")))
            file.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(file)
            if file.is_documentation_page():
                waiting.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to such files, and those of such files, to their places."""

    def moved(link: re.Match[str]) -> str:
        place = _in_site(page.file.src_uri, link["path"])
        if place is None:
            return link[0]
        here = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(place, here) + (link["anchor"] or "")

    return _LINK.sub(moved, markdown)


def _in_site(page: str, link: str) -> str | None:
    """Return where in the site a file of the project lies that a page links to; None where there is no such file."""
    source = page.removeprefix("project/") if page.startswith("project/") else f"docs/{page}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target.startswith("..") or not (PROJECT / target).is_file():
        return None
    return target.removeprefix("docs/") if target.startswith("docs/") else f"project/{target}"
