import pytest

from eightgig.pipelines.gpu_guide.buying import buying_section, several_cards_section
from eightgig.pipelines.gpu_guide.cells import fits_cells, speed_cells
from eightgig.pipelines.gpu_guide.nodes import answer_claims, draw_figures, write_page
from eightgig.pipelines.gpu_guide.page import cards_section, headline
from eightgig.report.html import render_page
from eightgig.report.page import Table
from eightgig.vram.parameters import PlanParameters


@pytest.fixture
def claims(guide):
    return answer_claims(guide)


@pytest.fixture
def page(guide, claims) -> str:
    return render_page(write_page("What fits", guide, claims, *draw_figures(guide), PlanParameters()))


def test_cells_say_what_a_person_looks_for(guide):
    cells = fits_cells(guide).set_index(["title", "card"])
    assert cells.loc[("flower classifier", "RTX 3070"), "text"] == "6.0 GiB<br>fp16, 32 x 1"
    assert cells.loc[("gpt2 medium", "RTX 3070"), "text"] == "6.4 GiB<br>fp16, 32 x 1<br>recomputed"
    assert cells.loc[("semantic segmenter 4k", "RTX 3070"), "text"] == "does not fit"
    assert cells.loc[("semantic segmenter 4k", "RTX 3070"), "detail"] == "needs 20.0 GiB"
    assert cells["fit_code"].tolist() == [0, 0, 0, 1, 0, 0, 2, 2, 0]


def test_a_cell_says_where_a_plan_fits_barely(guide):
    rows = (guide.rows[0].model_copy(update={"fits_barely": True}), *guide.rows[1:])
    assert fits_cells(guide.model_copy(update={"rows": rows}))["text"][0].endswith("<br>barely")


def test_speed_is_against_the_reference_card(guide):
    cells = speed_cells(guide).set_index(["title", "card"])
    assert cells.loc[("flower classifier", "RTX 3090"), "text"] == "2.0 x<br>2.5 min an epoch"
    assert (
        cells.loc[("semantic segmenter 4k", "RTX 3090"), "text"] == "fits here<br>320 a second"
    )  # nothing to compare with
    assert cells.loc[("semantic segmenter 4k", "RTX 4070"), "text"] == "does not fit"


def test_the_first_figures(guide, claims):
    fitting, cards, pairs, verdicts = headline(guide, claims)
    assert (fitting.value, fitting.note) == ("2 of 3", "1 of them by recomputing or moving activations")
    assert (cards.value, cards.note) == ("3", "in this machine: none")
    assert (pairs.value, pairs.note) == ("2", "of 9")
    assert verdicts.value == f"{(claims['verdict'] == 'supported').sum()} supported"


def test_when_the_bigger_card_pays(guide):
    prose = buying_section(guide).prose
    assert "semantic segmenter 4k: no plan fits the RTX 3070." in prose
    assert "gpt2 medium: fits, and pays with time for it." in prose
    assert "The RTX 3090 (24 GiB) runs 3 of 3 with ease, 2.0 times as fast." in prose


def test_when_the_small_card_is_enough(guide):
    only = guide.model_copy(update={"rows": tuple(row for row in guide.rows if row.name == "flower_classifier")})
    assert buying_section(only).prose.startswith("Every workload fits the RTX 3070.")


def test_several_cards_are_for_speed(guide):
    section = several_cards_section(guide)
    assert "two of 8 GiB train nothing that does not fit one" in section.prose
    table = section.blocks[1]
    assert isinstance(table, Table)
    assert table.rows[0] == ("RTX 3070", 220, 650, 870, 1310, 650)


def test_the_article_error_is_shown_with_the_right_figure(guide):
    assert "RTX 3070, INT8 on tensor cores: 81.2 TOPS in the article, 162.6 in truth" in cards_section(guide).prose


def test_the_page_needs_no_network_and_shows_all(page):
    for title in ("What fits", "How fast", "The article, claim by claim", "When to buy the bigger card"):
        assert title in page
    assert "One card or several" in page
    assert 'src="http' not in page
    assert "contradicted" in page
    assert "Predicted, not measured" in page
