import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from eightgig.report.html import render_page, shown
from eightgig.report.page import Chart, Code, Fact, Facts, Folded, Gallery, Image, Page, Section, Table

EVIL = "<script>alert('daisy')</script>"
IMAGE = Image.from_array(np.zeros((8, 8, 3), np.uint8), caption=EVIL, note=EVIL, mark="bad")


class Elements(HTMLParser):
    """Every element with its attributes; what scripts hold is text to it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def page(*blocks, prose="", headline=()) -> Page:
    return Page("flower_classifier", "What it does", headline, [Section("Results", prose, blocks)], footer="the end")


def everything(text: str) -> Page:
    frame = pd.DataFrame({text: [text, None]})
    chart = Chart(go.Figure(go.Bar(x=[text], y=[1], name=text)), caption=text)
    blocks = (
        Facts([Fact(text, text, text)]),
        Table.from_frame(frame, caption=text),
        chart,
        Gallery([IMAGE]),
        Code(text),
        Folded(text, [Table([text], [[text]], text), Facts([Fact(text, text)], text), Code(text)]),
    )
    return Page(text, text, [Fact(text, text, text)], [Section(text, text, blocks)], footer=text)


def test_nothing_is_loaded_from_elsewhere():
    html = render_page(everything("daisy"))
    for tag, attributes in Elements(html).found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/jpeg;base64,")), (tag, name, value)
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_what_comes_from_data_is_escaped_everywhere():
    with_evil, harmless = (Elements(render_page(everything(text))).found for text in (EVIL, "daisy"))
    count = [sum(tag == "script" for tag, _ in found) for found in (with_evil, harmless)]
    assert count == [4, 4]  # what it is about, the figure's JSON, plotly.js, and the page's own
    assert EVIL not in render_page(everything(EVIL))


def test_a_figure_comes_back_whole_from_the_page():
    html = render_page(page(Chart(go.Figure(go.Bar(x=["</script><b>"], y=[2])))))
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert json.loads(text)["data"][0]["x"] == ["</script><b>"]


def test_plotly_is_inside_once_and_only_where_there_are_figures():
    chart = Chart(go.Figure(go.Bar(y=[1])))
    one, two, none = (render_page(page(*blocks)) for blocks in ((chart,), (chart, chart), (Code("x"),)))
    assert len(none) < 40_000
    assert len(one) > 1_000_000
    assert len(two) - len(one) < 50_000


def test_missing_values_are_dashes():
    frame = pd.DataFrame(
        {"variant": ["torch", "tensorrt"], "accuracy": [0.9512, None], "latency_p50_ms": [12.5, np.nan]}
    )
    html = render_page(page(Table.from_frame(frame, formats={"accuracy": ".1%"}), Facts([Fact("commit", None)])))
    assert '<td class="number">95.1%</td><td class="number">12.5</td>' in html
    assert html.count('<td class="number">–</td>') == 2
    assert ">latency p50 ms</th>" in html
    assert "<dt>commit</dt><dd>–</dd>" in html
    assert "nan" not in re.sub(r"<style>.*</style>|<script>.*</script>", "", html, flags=re.DOTALL).lower()


def test_a_column_with_words_stands_left_even_where_it_is_empty():
    table = Table(["variant", "note", "ms", "empty"], [["a", None, 1, None], ["b", "no GPU", None, None]])
    assert table.numeric == [False, False, True, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (pd.NaT, "–"),
        (pd.NA, "–"),
        ("", "–"),
        (0, "0"),
        (12345, "12,345"),
        (0.91234, "0.9123"),
        (54321.7, "54,322"),
        (True, "yes"),
        (False, "no"),
        (np.bool_(True), "yes"),
        (np.float32(0.5), "0.5"),
        ("daisy", "daisy"),
    ],
)
def test_values_are_written_for_a_person(value, text):
    assert shown(value) == text


def test_headline_shows_how_much_of_the_budget_is_used():
    html = render_page(
        page(headline=[Fact("Peak memory", "1.3 GiB", "of 1.5", part=0.867), Fact("Over", 2, part=1.7, mark="bad")])
    )
    assert "width: 86.7%" in html
    assert "width: 100.0%" in html


def test_sections_stand_in_order_with_links_and_paragraphs():
    html = render_page(Page("t", "s", [], [Section("One", "first\n\nsecond"), Section("Two")]))
    assert (
        html.index("<h2>One</h2>")
        < html.index("<p>first</p>")
        < html.index("<p>second</p>")
        < html.index("<h2>Two</h2>")
    )
    assert '<a href="#part-2">Two</a>' in html
    assert 'id="part-2"' in html


def test_empty_tables_and_galleries_say_so():
    assert render_page(page(Table(["a"], []), Gallery([]))).count("nothing to show") == 2


def test_what_is_folded_opens_without_a_script():
    html = render_page(page(Folded("In figures", [Table(["a"], [[1]], "From a trace")])))
    inside = html.partition("<details><summary>In figures</summary>")[2].partition("</details>")[0]
    assert "<figcaption>From a trace</figcaption>" in inside
    assert '<td class="number">1</td>' in inside


def test_it_follows_the_readers_light_or_dark_setting():
    html = render_page(page())
    assert "prefers-color-scheme: dark" in html
    assert 'class="switch"' in html
