"""How frames are handed from one thread to the next: a short queue that can be closed, stopped, or kept fresh."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# A wait without end cannot be interrupted by Ctrl-C on Windows.
_WAIT_S = 0.2


class BoundedQueue(Generic[Item]):
    """A queue between two threads.

    Args:
        items: on it from the start.
        capacity: most items that may wait; None is any number.
    """

    def __init__(self, items: Iterable[Item] = (), *, capacity: int | None = None) -> None:
        self._items = deque(items)
        self._capacity = capacity
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add the item, when there is room for it; a closed queue drops it, for nobody will take it."""
        with self._changed:
            while not self._is_closed and self._capacity is not None and len(self._items) >= self._capacity:
                self._changed.wait(_WAIT_S)
            if not self._is_closed:
                self._items.append(item)
                self._changed.notify_all()

    def replace(self, item: Item) -> list[Item]:
        """Add the item at once and give back those that were waiting: the newest alone stays."""
        with self._changed:
            old = list(self._items)
            self._items.clear()
            self._items.append(item)
            self._changed.notify_all()
            return old

    def get(self) -> Item | None:
        """Return the next item, when there is one; None when there will be none."""
        with self._changed:
            while not self._items and not self._is_closed:
                self._changed.wait(_WAIT_S)
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Say that no item follows; those that wait are still given."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Close it and drop what waits."""
        with self._changed:
            self._items.clear()
        self.close()
