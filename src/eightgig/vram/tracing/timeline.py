"""From two traced steps to the timeline of a run."""

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace

from eightgig.vram.allocator.events import AllocationTrace, Event


def repeat_last_step(trace: AllocationTrace) -> AllocationTrace:
    """Return a trace with its last step once more, since it may find the allocator's cache cut up in another way.

    Args:
        trace: of two steps or more, without workspace memory among its events. What the last step gives back of the one
            before, it leaves to the next in its turn: gradients that are dropped late, outputs that a loop keeps.
    """
    begin, end = trace.steps[-1], len(trace.events)
    names, gone = _numbers_of_repeated(trace, begin)
    dropped = [position for position in range(begin, end) if trace.events[position].block in gone]

    def moved(position: int) -> int:
        return position + end - begin - bisect_left(dropped, position)

    repeated = (event for event in trace.events[begin:] if event.block not in gone)
    marks = (mark._replace(position=moved(mark.position)) for mark in trace.marks if mark.position >= begin)
    # Workspaces follow the results of their op, so that the first position's belong to the step before.
    uses = (use for use in trace.workspaces if use.position > begin and not use.is_kept)
    return replace(
        trace,
        events=(*trace.events, *(Event(names.get(block, block), size) for block, size in repeated)),
        categories=trace.categories | {new: trace.categories[old] for old, new in names.items()},
        owners=trace.owners | {new: trace.owners[old] for old, new in names.items()},
        marks=(*trace.marks, *marks),
        steps=(*trace.steps, end),
        workspaces=(*trace.workspaces, *(use._replace(position=moved(use.position)) for use in uses)),
    )


def _numbers_of_repeated(trace: AllocationTrace, begin: int) -> tuple[dict[int, int], set[int]]:
    """Return the new numbers of blocks in a repeated step, and the blocks that are not there to be given back again."""
    sizes = {block: size for block, size in trace.events if size}
    given_back = {block for block, size in trace.events[begin:] if not size}
    taken = [block for block, size in trace.events[begin:] if size]
    numbers = {block: len(trace.owners) + index for index, block in enumerate(taken)}
    left = _by_size((block for block in taken if block not in given_back), sizes)
    inherited = (block for block, size in trace.events[:begin] if size and block in given_back)
    gone = set[int]()
    for block in inherited:
        if same := left[sizes[block]]:
            numbers[block] = same.popleft()
        else:
            gone.add(block)
    return numbers, gone


def _by_size(blocks: Iterable[int], sizes: dict[int, int]) -> dict[int, deque[int]]:
    found = defaultdict[int, deque[int]](deque)
    for block in blocks:
        found[sizes[block]].append(block)
    return found
