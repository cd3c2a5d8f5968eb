"""Pipelines on threads: order, bounds, errors, ends."""

import threading

import pytest

from defeat_ros.inference.ahead import ahead


def test_order_and_nothing_lost_through_several_steps():
    steps = ahead(ahead(value * 2 for value in ahead(range(500))))
    assert list(steps) == [2 * value for value in range(500)]


def test_no_more_than_a_few_are_taken_ahead():
    taken, room = [], threading.Semaphore(0)

    def source():
        for value in range(100):
            taken.append(value)
            room.release()
            yield value

    items = ahead(source(), most=2)
    assert next(items) == 0
    for _ in range(3):  # what is being put, and two that wait
        assert room.acquire(timeout=10)
    assert len(taken) <= 4
    items.close()
    assert len(taken) <= 5


def test_an_error_comes_after_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise KeyError("three")

    items = ahead(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)


def test_closing_ends_the_threads_and_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    items = ahead(value for value in ahead(source()))
    assert next(items) == 0
    items.close()
    assert closed.wait(10)
    assert threading.active_count() == before


def test_steps_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)

    def source():
        for value in range(3):
            if value:
                meeting.wait()  # for the consumer, who has the one before
            yield value

    items = ahead(source())
    for _ in range(2):
        next(items)
        meeting.wait()
    assert next(items) == 2
