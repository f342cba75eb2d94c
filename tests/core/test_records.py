"""Records made of others: what both have by one name is taken over, and nothing else."""

import pytest
from pydantic import ValidationError

from eightgig.core.records import Record


class Size(Record):
    width: int
    height: int = 0


class Place(Record):
    width: int
    floor: int


class Room(Record):
    width: int
    height: int = 3
    floor: int
    name: str = "hall"


def test_what_others_have_by_the_same_names_is_taken_over():
    assert Room.from_records(Size(width=2, height=4), Place(width=5, floor=1)) == Room(width=5, height=4, floor=1)


def test_values_win():
    assert Room.from_records(Place(width=5, floor=1), name="attic", floor=7) == Room(width=5, floor=7, name="attic")


def test_what_no_one_has_is_missed():
    with pytest.raises(ValidationError, match="floor"):
        Room.from_records(Size(width=2))
