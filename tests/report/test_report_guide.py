import math

import numpy as np
import pandas as pd
import pytest

from eightgig.report.guide import FIT_CODES, fits_heat_map, speed_heat_map

CARDS = ["small", "big"]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "title": ["first", "first", "second", "second"],
            "card": ["big", "small", "small", "big"],
            "fit_code": [0, 1, 2, 0],
            "ratio": [4.0, 1.0, math.nan, 16.0],
            "text": ["a", "b", "c", "d"],
            "detail": ["", "", "too big", ""],
        }
    )


def test_cells_stand_where_they_belong(table):
    heat = fits_heat_map(table, CARDS).data[0]
    assert (list(heat.x), list(heat.y)) == (CARDS, ["first", "second"])
    assert heat.z.tolist() == [[1, 0], [2, 0]]
    assert heat.text.tolist() == [["b", "a"], ["c", "d"]]
    assert heat.customdata.tolist()[1] == ["too big", ""]


def test_each_code_has_one_colour_and_a_name(table):
    figure = fits_heat_map(table, CARDS)
    scale = figure.data[0].colorscale
    assert [edge for edge, _ in scale] == [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1]
    assert [scale[2 * code][1] == scale[2 * code + 1][1] for code in range(3)] == [True] * 3
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-0.5, 2.5)
    assert [trace.name for trace in figure.data[1:]] == [name for name, _, _ in FIT_CODES]


def test_speed_is_even_in_both_directions(table):
    heat = speed_heat_map(table, CARDS).data[0]
    np.testing.assert_array_equal(heat.z, [[0.0, 2.0], [math.nan, 4.0]])
    assert -heat.zmin == heat.zmax == 3  # 8 times
    assert heat.text.tolist()[1] == ["c", "d"]


def test_a_pair_that_is_missing_is_an_empty_cell(table):
    heat = fits_heat_map(table.drop(index=2), CARDS).data[0]
    assert math.isnan(heat.z[1][0])
    assert heat.text[1][0] == ""


def test_figures_have_no_ground_of_their_own(table):
    for figure in (fits_heat_map(table, CARDS), speed_heat_map(table, CARDS)):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.height > 200
