"""Names that look the same are the same, and a message shows where they are not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eightgig.core.names import all_quoted, composed, name_key, quoted

COMPOSED, DECOMPOSED = "B\u00fccher", "Bu\u0308cher"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), st.sampled_from(["NFC", "NFD"]))
def test_normal_forms_of_a_name_are_equal(name, form):
    assert composed(unicodedata.normalize(form, name)) == composed(name)


@pytest.mark.parametrize("other", [DECOMPOSED, DECOMPOSED.upper(), COMPOSED.upper(), COMPOSED])
def test_a_key_forgets_form_and_case(other):
    assert name_key(other) == name_key(COMPOSED)


def test_a_key_keeps_letters_apart():
    assert name_key("Bucher") != name_key(COMPOSED)


def test_escapes_are_shown_where_names_look_the_same():
    assert quoted(COMPOSED, "other") == "'B\u00fccher'"
    assert quoted(COMPOSED, DECOMPOSED) == r"'B\xfccher'"
    assert quoted(DECOMPOSED, COMPOSED) == r"'Bu\u0308cher'"


def test_a_list_shows_escapes_for_those_that_look_the_same_alone():
    assert all_quoted([COMPOSED, DECOMPOSED, "\u00c9cole"]) == r"'B\xfccher', 'Bu\u0308cher', '" + "\u00c9cole'"
