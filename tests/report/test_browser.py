"""Pages in a browser: every kind of block, and what would be a fault."""

import plotly.graph_objects as go
import pytest

from eightgig.report.html import render_page
from eightgig.report.page import Chart, Code, Fact, Facts, Folded, Link, Links, Page, Section, Table

TABLE = Table(["name", "", "size"], [["a long name of many words " * 3, "x", row] for row in range(60)], "Sizes")
BLOCKS = (
    Facts([Fact("accuracy", "98 %", "of 77")]),
    TABLE,
    Chart(go.Figure(go.Bar(x=["a", "b"], y=[1, 2]), layout={"height": 300})),
    Code("kedro run --pipelines flower_classifier --params " + "flower_classifier.train.epochs=3," * 8, "To type"),
    Folded("More", [TABLE]),
    Links([Link("a/report.html", "Another", "what it says", "today")]),
)
PAGE = Page(
    "Flowers", "of five kinds", [Fact("Accuracy", "98 %", part=0.5)], [Section("All", "So.", BLOCKS)], "end", "It fits."
)


def test_every_kind_of_block_is_sound(browse, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render_page(PAGE), encoding="utf-8")
    assert browse(path) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (("<main>", "<main><img src='data:,' alt=''>"), "an image has no text"),
        (("<main>", "<main><div style='width: 900px'>wide</div>"), "390 px, light: it scrolls sideways"),
        (("<main>", "<main><p style='color: #eee; background: #fff'>faint</p>"), "color-contrast"),
        (("<main>", "<main><script>nothing.there()</script>"), "a script fails"),
        (("<main>", "<main><script>console.warn('old')</script>"), "the console says: old"),
        (("<main>", "<main><script src='http://127.0.0.1:9/x.js'></script>"), "it asks a network"),
        (('addEventListener("click"', 'addEventListener("no"'), "the first stop of Tab"),
    ],
)
def test_a_fault_is_found(broken, said, browse, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render_page(PAGE).replace(*broken), encoding="utf-8")
    assert any(said in fault for fault in browse(path))
