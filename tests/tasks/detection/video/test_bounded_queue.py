import threading
import time

from eightgig.tasks.detection.video.bounded_queue import BoundedQueue


def test_items_come_in_order_and_none_after_the_end() -> None:
    queue = BoundedQueue([1])
    queue.put(2)
    queue.close()
    queue.put(3)  # nobody will take it
    assert [queue.get() for _ in range(4)] == [1, 2, None, None]


def test_a_full_belt_waits_for_room() -> None:
    queue = BoundedQueue[int](capacity=1)
    thread = threading.Thread(target=lambda: [queue.put(number) for number in range(3)])
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive()
    assert [queue.get() for _ in range(3)] == [0, 1, 2]
    thread.join(5)
    assert not thread.is_alive()


def test_the_newest_takes_the_place_of_all_that_wait() -> None:
    queue = BoundedQueue([1, 2])
    assert queue.replace(3) == [1, 2]
    assert queue.get() == 3
    assert queue.replace(4) == []


def test_stopping_wakes_both_sides_and_drops_what_waits() -> None:
    empty, full = BoundedQueue[int](), BoundedQueue([1], capacity=1)
    threads = [threading.Thread(target=empty.get), threading.Thread(target=full.put, args=(2,))]
    for thread in threads:
        thread.start()
    empty.stop()
    full.stop()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert full.get() is None
