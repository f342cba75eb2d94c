"""From two traced steps to the timeline of a run."""

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
