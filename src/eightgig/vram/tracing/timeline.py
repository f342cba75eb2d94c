"""From parts that were traced once to the timeline of a run: the first optimizer steps, the last as all that follow."""

from collections import deque
from collections.abc import Iterable, Iterator

from eightgig.vram.allocator.events import KEPT_SCRATCH, AllocationTrace, Event, Mark, Scratch

Span = tuple[str, int, int]
"""A phase, and the events from its first to the one after its last."""


def first_steps(trace: AllocationTrace) -> AllocationTrace:
    """Return the timeline of a traced step run three times: while its optimizer makes its state, and twice after.

    The third, since it may find the allocator's cache cut up in another way than the second did.

    Args:
        trace: with the phases `build`, then `forward` and `backward` once or more, `first optimizer`, `optimizer`
            and `release`, each recorded once. A step takes and gives back the same blocks each time, apart from those
            that it keeps, so that recording it twice would tell nothing new. Without `optimizer`, the optimizer steps
            in the backward pass and its state was made before.
    """
    spans = list(_spans(trace))
    passes = [span for span in spans if span[0] in {"forward", "backward"}]
    named = {name: (name, start, end) for name, start, end in spans}
    if "optimizer" in named:
        first = [named["build"], *passes, named["first optimizer"], named["release"]]
        again = [*passes, named["optimizer"], named["release"]]
    else:
        again = [*passes, named["release"]]
        first = [named["build"], named["first optimizer"], *again]
    return _Composer(trace).compose(first, again, again)


def _spans(trace: AllocationTrace) -> Iterator[Span]:
    starts = [Mark(0, "build"), *trace.marks]
    ends = [mark.position for mark in trace.marks] + [len(trace.events)]
    for mark, end in zip(starts, ends, strict=True):
        yield mark.phase, mark.position, end


class _Composer:
    """Copies spans of events to a new timeline; blocks of a repeated span get new numbers."""

    def __init__(self, trace: AllocationTrace) -> None:
        self._trace = trace
        self._events: list[Event] = []
        self._marks: list[Mark] = []
        self._scratch: list[Scratch] = []
        self._holders, self._owners = dict(trace.holders), dict(trace.owners)
        self._next_block = len(trace.owners)

    def compose(self, first: list[Span], *later: list[Span]) -> AllocationTrace:
        self._copy(first, {}, once=True)
        for again in later:
            freed = {event.block for event in self._events_of(again) if not event.num_bytes}
            taken = [event.block for event in self._events_of(again) if event.num_bytes and event.block in freed]
            self._copy(again, self._renamed(taken), once=False)
        return AllocationTrace(
            events=tuple(self._events),
            holders=self._holders,
            owners=self._owners,
            marks=tuple(self._marks),
            scratch=tuple(self._scratch),
            costs=self._trace.costs,
        )

    def _events_of(self, spans: Iterable[Span]) -> Iterator[Event]:
        for _, start, end in spans:
            yield from self._trace.events[start:end]

    def _renamed(self, blocks: list[int]) -> dict[int, int]:
        names = {}
        for block in blocks:
            names[block] = self._next_block
            self._holders[self._next_block] = self._trace.holders[block]
            self._owners[self._next_block] = self._trace.owners[block]
            self._next_block += 1
        return names

    def _copy(self, spans: list[Span], names: dict[int, int], *, once: bool) -> None:
        for phase, start, end in spans:
            self._marks.append(Mark(len(self._events), phase.removeprefix("first ")))
            # Scratch follows the results of its op, so that it belongs to the span that has just ended there.
            scratch = deque(
                s for s in self._trace.scratch if start < s.position <= end and (once or s.kind not in KEPT_SCRATCH)
            )
            for position in range(start, end):
                self._copy_scratch(scratch, position)
                event = self._trace.events[position]
                if once or event.block in names:
                    self._events.append(Event(names.get(event.block, event.block), event.num_bytes))
            self._copy_scratch(scratch, end)

    def _copy_scratch(self, scratch: deque[Scratch], position: int) -> None:
        while scratch and scratch[0].position <= position:
            self._scratch.append(scratch.popleft()._replace(position=len(self._events)))
