"""The page over all pages."""

import os

from eightgig.datasets.media import PageDataset
from eightgig.report.index import write_index
from eightgig.report.page import Page


def test_it_links_every_page_with_what_it_says_the_newest_first(tmp_path):
    for seconds, (case, title) in enumerate([("old_case", "Old </script>"), ("new_case", "New")]):
        path = tmp_path / case / "report.html"
        page = Page(title, "about flowers", (), (), summary="It is right for 9 of 10.")
        PageDataset(filepath=str(path)).save(page)
        os.utime(path, (1_700_000_000 + seconds, 1_700_000_000 + seconds))
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert text.index('href="new_case/report.html"') < text.index('href="old_case/report.html"')
    assert "Old &lt;/script&gt;</a>" in text
    assert text.count("It is right for 9 of 10.") == 2
    assert "new_case, 2023-11-14 22:13 UTC" in text


def test_a_page_of_an_older_version_is_linked_by_its_folder(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "report.html").write_text("<title>Net</title>", encoding="utf-8")
    assert '<a href="net/report.html">net</a>' in write_index(tmp_path).read_text(encoding="utf-8")
