"""A run that trains, validates and trains on, in one allocator: by hand arithmetic."""

import pytest

from eightgig.core.units import MIB
from eightgig.vram.allocator.events import AllocationTrace, Event, Mark, StepBoundary, WorkspaceUse
from eightgig.vram.allocator.kernels import CublasHandle, LayerNormKernel
from eightgig.vram.allocator.replay import replay
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import predict_memory
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.timeline import with_validation

pytestmark = pytest.mark.usefixtures("tiny_workloads")
WEIGHT = 4 * MIB
OUTPUT = 64 * MIB  # 16,384 rows of 1,024 numbers
STEP = StepOptions(micro_batch=16_384, optimizer="sgd", clips_gradients=False)


def by_hand():
    """A weight of 10 (block 0); a step that takes 50 and gives it back; a pass that takes 30, then 20 beside."""
    train = AllocationTrace(
        events=(Event(0, 10), Event(1, 50), Event(1, 0), Event(2, 50), Event(2, 0)),
        categories={0: "parameters", 1: "activations", 2: "activations"},
        owners={0: "weight", 1: "a", 2: "a"},
        marks=(Mark(0, "build"), Mark(1, "forward"), Mark(3, "forward")),
        steps=(StepBoundary(1, 1), StepBoundary(3, 2), StepBoundary(5, 3)),
        workspaces=(WorkspaceUse(2, CublasHandle()), WorkspaceUse(4, LayerNormKernel(num_features=1))),
    )
    validate = AllocationTrace(
        events=(Event(0, 10), Event(1, 30), Event(2, 20), Event(1, 0), Event(2, 0)),
        categories={0: "parameters", 1: "batch", 2: "temporaries"},
        owners={0: "weight", 1: "b", 2: "c"},
        marks=(Mark(0, "build"), Mark(1, "validate")),
        workspaces=(WorkspaceUse(2, CublasHandle()), WorkspaceUse(3, LayerNormKernel(num_features=2))),
    )
    return train, validate


def test_the_pass_stands_between_the_last_step_and_the_same_step_once_more():
    course = with_validation(*by_hand())
    sizes = [event.num_bytes for event in course.events]
    assert sizes == [10, 50, 0, 50, 0, 30, 20, 0, 0, 50, 0]
    assert [(mark.position, mark.phase) for mark in course.marks] == [
        (0, "build"),
        (1, "forward"),
        (3, "forward"),
        (5, "validate"),
        (9, "forward"),
    ]
    assert course.steps[-1] == StepBoundary(11, 4)
    assert [course.categories[block] for block, size in course.events if size] == [
        *("parameters", "activations", "activations", "batch", "temporaries", "activations")
    ]
    assert set(course.owners) == set(course.categories) >= {block for block, _ in course.events}


def test_handles_are_there_already_and_other_workspaces_stand_where_they_stood():
    kernels = [(use.position, use.kernel) for use in with_validation(*by_hand()).workspaces]
    assert kernels == [
        (2, CublasHandle()),
        (4, LayerNormKernel(num_features=1)),
        (7, LayerNormKernel(num_features=2)),
        (10, LayerNormKernel(num_features=1)),
    ]


def test_a_validation_that_holds_less_changes_nothing(predictor):
    spec = WorkloadSpec(factory="tiny_workloads:perceptron")
    alone, course = predictor.predict(spec, STEP), predictor.predict_course(spec, STEP, 1024)
    assert course.peak_allocated == alone.peak_allocated
    assert course.peak_reserved == alone.peak_reserved


def test_a_large_validation_counts_with_the_optimizers_state_beside_it(predictor):
    spec = WorkloadSpec(factory="tiny_workloads:perceptron")
    eval_batch = 4 * STEP.micro_batch
    validate = predictor.predict(spec, STEP.without_gradients(eval_batch))
    course = predictor.predict_course(spec, STEP, eval_batch)
    momentum, handle_of_the_backward_pass = WEIGHT, 8_519_680
    assert course.peak_allocated == validate.peak_allocated + momentum + handle_of_the_backward_pass
    # What the training reserved in smaller segments stays reserved beside the larger ones.
    assert course.peak_reserved > validate.peak_reserved + momentum + handle_of_the_backward_pass


@pytest.mark.parametrize("name", ["perceptron", "keeps_its_output"])
@pytest.mark.parametrize("zero_grad", ["after_step", "before_backward"])
def test_every_course_gives_back_only_what_it_holds(predictor, name, zero_grad):
    spec = WorkloadSpec(factory=f"tiny_workloads:{name}")
    options = STEP.model_copy(update={"zero_grad": zero_grad})
    course = with_validation(predictor.trace(spec, options), predictor.trace(spec, options.without_gradients(64)))
    assert replay(course.events).peak_allocated >= WEIGHT + 2 * OUTPUT
    assert [use.position for use in course.workspaces] == sorted(use.position for use in course.workspaces)


def test_the_public_function_asks_for_a_course_by_its_batch(tiny_workloads):
    alone = predict_memory("tiny_workloads:perceptron", 1024, optimizer="sgd")
    course = predict_memory("tiny_workloads:perceptron", 1024, optimizer="sgd", eval_batch=16_384)
    assert course.peak_reserved > alone.peak_reserved + OUTPUT
