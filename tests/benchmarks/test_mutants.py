"""The counting around mutmut: what a survivor is called, and which share was killed."""

import pytest

SHOWN = """\
# eightgig.vram.allocator.blocks.xǁCardǁgrants__mutmut_5: survived
--- src/eightgig/vram/allocator/blocks.py
+++ src/eightgig/vram/allocator/blocks.py
@@ -1,6 +1,6 @@
 def grants(self, num_bytes: int) -> bool:
     total = self.reserved + num_bytes
-    if self.limit_bytes is not None and total > self.limit_bytes:
+    if self.limit_bytes is not None and total >= self.limit_bytes:
         return False
"""


@pytest.fixture
def mutants(benchmark):
    return benchmark("mutants")


@pytest.mark.parametrize(
    ("mutant", "function"),
    [
        ("eightgig.vram.allocator.blocks.xǁCardǁgrants__mutmut_5", "eightgig.vram.allocator.blocks.Card.grants"),
        ("eightgig.vram.allocator.blocks.x__next_division__mutmut_12", "eightgig.vram.allocator.blocks._next_division"),
    ],
)
def test_a_survivor_is_called_by_its_function_and_what_it_changes(mutants, mutant, function):
    assert mutants.as_change(mutant, SHOWN.splitlines()) == (
        function,
        "if self.limit_bytes is not None and total > self.limit_bytes:",
        "if self.limit_bytes is not None and total >= self.limit_bytes:",
    )


def test_accepted_survivors_do_not_count(mutants):
    assert mutants.share_killed(51, 60, 0) == 0.85
    assert mutants.share_killed(51, 60, 5) == 0.9273
    assert mutants.share_killed(0, 3, 3) == 1.0


def test_every_room_has_its_code_and_its_tests(mutants, project_path):
    for room in mutants.ROOMS.values():
        assert any(path for pattern in room.code for path in (project_path / "src" / "eightgig").glob(pattern))
        assert all((project_path / "tests" / test.partition("::")[0]).exists() for test in room.tests)


def test_every_accepted_survivor_has_a_reason(mutants):
    for row in mutants.accepted_survivors():
        assert set(row) == {"function", "was", "now", "reason"}
        assert row["was"] != row["now"]
        assert row["reason"]
