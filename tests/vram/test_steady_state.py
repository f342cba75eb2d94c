"""What one optimizer step leaves to the next: outputs that a loop holds, gradients that are dropped late."""

import pytest

from eightgig.core.units import MIB
from eightgig.vram.allocator.events import AllocationTrace, Event, Mark, StepBoundary
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.timeline import repeat_last_step

pytestmark = pytest.mark.usefixtures("tiny_workloads")
WEIGHT = 4 * MIB
OUTPUT = 64 * MIB  # 16,384 rows of 1,024 numbers


@pytest.fixture(scope="module")
def trace(tiny_workloads):
    with Predictor() as predictor:

        def run(name, **options):
            asked = StepOptions(micro_batch=16_384, optimizer="sgd", clips_gradients=False, **options)
            return predictor.trace(WorkloadSpec(factory=f"tiny_workloads:{name}"), asked)

        yield run


def most_held(trace, phase, *, step):
    """Bytes of blocks of 1 MiB and more that are held at most in a phase of a step, from 0."""
    spans = [
        (mark.position, following.position)
        for mark, following in zip(trace.marks, trace.marks[1:], strict=False)
        if mark.phase == phase
    ]
    begin, end = spans[step]
    held, most = {}, 0
    for position, (block, size) in enumerate(trace.events[:end]):
        held[block] = size
        if position >= begin:
            most = max(most, sum(size for size in held.values() if size >= MIB))
    return most


@pytest.mark.parametrize("step", [1, 2])
def test_outputs_of_the_last_step_are_there_until_a_forward_pass_has_made_new_ones(trace, step):
    plain, keeping = trace("perceptron"), trace("keeps_its_output")
    momentum = WEIGHT
    assert most_held(plain, "forward", step=step) == WEIGHT + momentum + 2 * OUTPUT  # batch and output
    assert most_held(keeping, "forward", step=step) == WEIGHT + momentum + 3 * OUTPUT


def test_in_the_first_step_there_are_none_yet(trace):
    assert most_held(trace("keeps_its_output"), "forward", step=0) == WEIGHT + 2 * OUTPUT


@pytest.mark.parametrize("step", [1, 2])
def test_gradients_that_are_dropped_before_the_backward_pass_are_there_in_the_forward_pass(trace, step):
    early, late = trace("perceptron"), trace("perceptron", zero_grad="before_backward")
    assert most_held(late, "forward", step=step) == most_held(early, "forward", step=step) + WEIGHT
    assert most_held(late, "backward", step=step) == most_held(early, "backward", step=step)


def test_every_block_is_taken_before_it_is_given_back_and_no_number_is_used_twice(trace):
    for made in (trace("keeps_its_output"), trace("perceptron", zero_grad="before_backward")):
        live, ever = set(), set()
        for block, size in made.events:
            assert block not in ever if size else block in live
            ever.add(block)
            live.symmetric_difference_update({block})
        assert len(made.steps) == 4
        assert ever <= made.categories.keys() & made.owners.keys()


def test_what_grows_with_each_step_grows_in_the_repeated_one_too(trace):
    made = trace("collects_losses")
    kept = [block for block, owner in made.owners.items() if owner == "sum"]
    given_back = {block for block, size in made.events if not size}
    assert len([block for block in kept if block not in given_back]) == 3


def test_what_is_given_back_once_is_not_given_back_again():
    """A step that drops a larger block of the step before, and leaves a smaller one, finds only that the next time."""
    events = (Event(0, 512), Event(1, 4096), Event(1, 0), Event(0, 0), Event(2, 1024), Event(3, 2048))
    trace = AllocationTrace(
        events=events,
        categories=dict.fromkeys(range(4), "temporaries"),
        owners=dict.fromkeys(range(4), "op"),
        marks=(Mark(0, "forward"), Mark(3, "forward"), Mark(5, "backward")),
        steps=(StepBoundary(0, 0), StepBoundary(3, 1), StepBoundary(6, 3)),
    )
    made = repeat_last_step(trace)
    assert made.events[6:] == (Event(4, 1024), Event(5, 2048))
    assert made.marks[3:] == (Mark(6, "forward"), Mark(7, "backward"))
    assert made.steps[-1] == StepBoundary(8, 5)
