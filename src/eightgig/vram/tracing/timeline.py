"""From traced steps and passes to the timeline of a run."""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace

from eightgig.vram.allocator.events import AllocationTrace, Event, StepBoundary


def repeat_last_step(trace: AllocationTrace) -> AllocationTrace:
    """Return a trace up to its last step, and that once more: it may find the allocator's cache cut up in another way.

    Args:
        trace: of two steps or more, without workspace memory among its events. What the last step gives back of the one
            before, it leaves to the next in its turn: gradients that are dropped late, outputs that a loop keeps.
    """
    (begin, first_mark), (end, last_mark) = trace.steps[-2:]
    numbers, gone = _numbers_of_repeated(trace.events[:begin], trace.events[begin:end], len(trace.owners))
    dropped = [position for position in range(begin, end) if trace.events[position].block in gone]

    def moved(position: int) -> int:
        return position + end - begin - bisect_left(dropped, position)

    repeated = (event for event in trace.events[begin:end] if event.block not in gone)
    marks = trace.marks[first_mark:last_mark]
    # Workspaces follow the results of their op, so that the first position's belong to the step before.
    uses = tuple(use for use in trace.workspaces if use.position <= end)
    again = (use for use in uses if use.position > begin and not use.is_kept)
    return replace(
        trace,
        events=(*trace.events[:end], *(Event(numbers.get(block, block), size) for block, size in repeated)),
        categories=trace.categories | {new: trace.categories[old] for old, new in numbers.items()},
        owners=trace.owners | {new: trace.owners[old] for old, new in numbers.items()},
        marks=(*trace.marks[:last_mark], *(mark._replace(position=moved(mark.position)) for mark in marks)),
        steps=(*trace.steps, StepBoundary(moved(end), last_mark + len(marks))),
        workspaces=(*uses, *(use._replace(position=moved(use.position)) for use in again)),
    )


def with_validation(train: AllocationTrace, validate: AllocationTrace) -> AllocationTrace:
    """Return a run that validates after its last step and then trains one step more, in one allocator.

    Args:
        train: of steps, without workspace memory among its events.
        validate: of passes of the same network, the same.
    """
    longer = repeat_last_step(train)
    begin, first_mark = train.steps[-1]
    start = next(mark.position for mark in validate.marks if mark.phase == "validate")
    there = {block for block, _ in validate.events[:start]}  # weights and buffers, which the training has already
    offset = max(longer.owners, default=-1) + 1
    between = [Event(offset + block, size) for block, size in validate.events[start:] if block not in there]
    gone = [position for position in range(start, len(validate.events)) if validate.events[position].block in there]

    def moved(position: int) -> int:
        return begin + position - start - bisect_left(gone, position)

    def later(position: int) -> int:
        return position + len(between)

    passes = (use for use in validate.workspaces if use.position > start and not use.is_kept)
    marks = (mark._replace(position=moved(mark.position)) for mark in validate.marks if mark.position >= start)
    return replace(
        longer,
        events=(*longer.events[:begin], *between, *longer.events[begin:]),
        categories=longer.categories | {offset + block: kind for block, kind in validate.categories.items()},
        owners=longer.owners | {offset + block: owner for block, owner in validate.owners.items()},
        marks=(
            *longer.marks[:first_mark],
            *marks,
            *(mark._replace(position=later(mark.position)) for mark in longer.marks[first_mark:]),
        ),
        steps=(*longer.steps[:-1], StepBoundary(later(longer.steps[-1].num_events), longer.steps[-1].num_marks)),
        workspaces=(
            *(use for use in longer.workspaces if use.position <= begin),
            *(use._replace(position=moved(use.position)) for use in passes),
            *(use._replace(position=later(use.position)) for use in longer.workspaces if use.position > begin),
        ),
    )


def _numbers_of_repeated(
    before: Sequence[Event], step: Sequence[Event], first_free: int
) -> tuple[dict[int, int], set[int]]:
    """Return the new numbers of blocks in a repeated step, and the blocks that are not there to be given back again."""
    given_back = {block for block, size in step if not size}
    taken = {block: size for block, size in step if size}
    inherited = {block: size for block, size in before if size and block in given_back}
    numbers = {block: first_free + index for index, block in enumerate(taken)}
    left = defaultdict[int, deque[int]](deque)
    for block, size in taken.items():
        if block not in given_back:
            left[size].append(block)
    gone = set[int]()
    for block, size in inherited.items():
        if left[size]:
            numbers[block] = left[size].popleft()
        else:
            gone.add(block)
    return numbers, gone
