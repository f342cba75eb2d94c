"""No file, however it was made, brings anything but this project's own errors out of a reader.

EIGHTGIG_FUZZ_INPUTS sets how many hostile files each reader gets: few in `make test`, 10,000 in `make faults`.
"""

from importlib import import_module

import pytest
from tests.fuzz.harness import NUM_INPUTS
from tests.fuzz.readers import MODULES

READERS = [reader for module in MODULES for reader in import_module(module).READERS]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_hostile_files_are_read_or_refused(reader, fuzzer, note_tally):
    tally = fuzzer.run(reader, NUM_INPUTS)
    note_tally(tally)
    assert tally.num_inputs >= NUM_INPUTS
