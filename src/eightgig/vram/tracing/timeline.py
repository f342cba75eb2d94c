"""From parts that were traced once to the timeline of a run: the first optimizer steps, the last as all that follow."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eightgig.vram.allocator.events import AllocationTrace, Event, Mark, WorkspaceUse


class Span(NamedTuple):
    """A phase: its events from position `start` to before `end`."""

    phase: str
    start: int
    end: int


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
    passes = [span for span in spans if span.phase in {"forward", "backward"}]
    named = {span.phase: span for span in spans}
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
        yield Span(mark.phase, mark.position, end)


class _Composer:
    """Copies spans of events to a new timeline; blocks of a repeated span get new numbers."""

    def __init__(self, trace: AllocationTrace) -> None:
        self._trace = trace
        self._events: list[Event] = []
        self._marks: list[Mark] = []
        self._workspaces: list[WorkspaceUse] = []
        self._categories, self._owners = dict(trace.categories), dict(trace.owners)
        self._next_block = len(trace.owners)

    def compose(self, first: list[Span], *later: list[Span]) -> AllocationTrace:
        self._copy(first, {}, once=True)
        for again in later:
            freed = {event.block for event in self._events_of(again) if not event.num_bytes}
            taken = [event.block for event in self._events_of(again) if event.num_bytes and event.block in freed]
            self._copy(again, self._renamed(taken), once=False)
        return AllocationTrace(
            events=tuple(self._events),
            categories=self._categories,
            owners=self._owners,
            marks=tuple(self._marks),
            workspaces=tuple(self._workspaces),
            costs=self._trace.costs,
        )

    def _events_of(self, spans: Iterable[Span]) -> Iterator[Event]:
        for span in spans:
            yield from self._trace.events[span.start : span.end]

    def _renamed(self, blocks: list[int]) -> dict[int, int]:
        names = {}
        for block in blocks:
            names[block] = self._next_block
            self._categories[self._next_block] = self._trace.categories[block]
            self._owners[self._next_block] = self._trace.owners[block]
            self._next_block += 1
        return names

    def _copy(self, spans: list[Span], names: dict[int, int], *, once: bool) -> None:
        for span in spans:
            self._marks.append(Mark(len(self._events), span.phase.removeprefix("first ")))
            # Workspaces follow the results of their op, so that they belong to the span that has just ended there.
            workspaces = deque(
                use
                for use in self._trace.workspaces
                if span.start < use.position <= span.end and (once or not use.is_kept)
            )
            for position in range(span.start, span.end):
                self._copy_workspaces(workspaces, position)
                event = self._trace.events[position]
                if once or event.block in names:
                    self._events.append(Event(names.get(event.block, event.block), event.num_bytes))
            self._copy_workspaces(workspaces, span.end)

    def _copy_workspaces(self, workspaces: deque[WorkspaceUse], position: int) -> None:
        while workspaces and workspaces[0].position <= position:
            self._workspaces.append(workspaces.popleft()._replace(position=len(self._events)))
