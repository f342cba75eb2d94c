"""The harness finds faults: readers with one each are run by it, and it says which input did what."""

import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz import edits, hdf5, parts
from tests.fuzz.edits import apply_all, byte_edits, json_edits, text_edits
from tests.fuzz.harness import CHILD, Fuzzer, Input
from tests.fuzz.seeded import FAULTY, SOUND

_ENOUGH = 300


@pytest.fixture(scope="module")
def seeded_fuzzer(tmp_path_factory):
    made = Fuzzer(tmp_path_factory.mktemp("seeded"), ["tests.fuzz.seeded"], hangs_after_s=3)
    yield made
    made.close()


@pytest.mark.parametrize(("reader", "words"), FAULTY, ids=lambda value: getattr(value, "name", ""))
def test_a_seeded_fault_is_found(reader, words, seeded_fuzzer):
    with pytest.raises(AssertionError, match=words) as caught:
        seeded_fuzzer.run(reader, _ENOUGH)
    text = str(caught.value)
    assert text.startswith(f"{reader.name}: ")
    assert "input: Input(seed=0" in text or "a valid file" in text
    assert "read it again: " in text


def test_a_reader_without_a_fault_passes_and_is_counted(seeded_fuzzer):
    tally = seeded_fuzzer.run(SOUND, _ENOUGH)
    assert tally.num_inputs >= _ENOUGH
    assert tally.num_read > _ENOUGH // 20
    assert tally.num_refused > _ENOUGH // 4
    assert tally.num_read + tally.num_refused == tally.num_inputs


def test_the_input_of_a_failure_is_read_again_by_the_command_it_names(fuzzer, tmp_path):
    (tmp_path / "f.json").write_text('{"code": 3}')
    done = subprocess.run(
        [sys.executable, CHILD, "records.small", tmp_path], capture_output=True, text=True, check=True
    )
    assert "refused in" in done.stdout
    assert "f.json is not a Finding of this version" in done.stdout


KINDS = {**vars(edits), **vars(parts), **vars(hdf5), "Input": Input}
SEEDS = st.sampled_from((b'{"a": [1, 2.5, "b"], "c": {"d": null}}', b"[1]", b'"\xc3\xbc"'))


@given(st.data())
def test_an_input_is_told_by_what_makes_it_again(data):
    seed = data.draw(SEEDS)
    strategy = data.draw(st.sampled_from((byte_edits, text_edits, json_edits)))
    some = data.draw(strategy(seed))
    told = repr(Input(0, "a", some, False))
    ast.parse(told, mode="eval")
    again = eval(told, {**KINDS, "nan": float("nan"), "inf": float("inf")})  # noqa: S307 - of this line's own making
    assert apply_all(again.edits, seed, [seed]) == apply_all(some, seed, [seed])


@given(st.data(), st.binary(max_size=50))
def test_an_edit_fits_any_file(data, other):
    """Also one that earlier edits have left nothing of."""
    strategy = data.draw(st.sampled_from((byte_edits, text_edits, json_edits)))
    some = data.draw(strategy(data.draw(SEEDS)))
    assert isinstance(apply_all(some, other, [other]), bytes)
