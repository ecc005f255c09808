from __future__ import annotations

import threading

from genwerk.inference.turns import Turnstile


def test_who_asked_first_enters_first() -> None:
    gate, order = Turnstile(), []
    gate.acquire()
    threads = []
    for number in range(12):

        def enter(number: int = number) -> None:
            with gate:
                order.append(number)

        thread = threading.Thread(target=enter)
        thread.start()
        while gate.waiting <= number:  # the next one comes only when this one stands in the queue
            threading.Event().wait(0.001)
        threads.append(thread)
    gate.release()
    for thread in threads:
        thread.join(timeout=10)
    assert order == list(range(12))


def test_a_returning_thread_cannot_overtake_one_that_waits() -> None:
    gate, order = Turnstile(), []
    gate.acquire()

    def other() -> None:
        with gate:
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    while not gate.waiting:
        threading.Event().wait(0.001)
    gate.release()
    with gate:
        order.append("back again")
    thread.join(timeout=10)
    assert order == ["other", "back again"]


def test_no_more_than_the_slots_are_inside() -> None:
    gate, guard, inside, most = Turnstile(3), threading.Lock(), [0], [0]

    def work() -> None:
        for _ in range(50):
            with gate:
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with guard:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert inside == [0]
    assert most[0] <= 3


def test_an_error_inside_frees_the_slot() -> None:
    gate = Turnstile()
    for _ in range(2):
        try:
            with gate:
                raise ValueError("work failed")
        except ValueError:
            continue
    gate.acquire()
