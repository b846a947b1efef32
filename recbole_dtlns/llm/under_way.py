"""Requests of which some are under way at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")


def as_they_come(places: Iterable[int], ask: Callable[[int], Answer], at_once: int) -> Generator[tuple[int, Answer]]:
    """Each place with its answer, in the order in which the answers come; raises what `ask` raises.

    A request starts when an answer was taken and kept, so no more than `at_once` are lost when this process dies;
    threads that wait for a hanging server do not keep it from ending.

    Args:
        places: of the requests.
        ask: gets one answer; called in threads.
        at_once: requests under way at most.
    """
    answers: SimpleQueue[tuple[int, Answer | None, BaseException | None]] = SimpleQueue()

    def ask_one(place: int) -> None:
        try:
            answers.put((place, ask(place), None))
        except BaseException as error:  # raised where the answers are taken
            answers.put((place, None, error))

    def taken() -> tuple[int, Answer]:
        place, answer, error = answers.get()
        if error is not None:
            raise error
        return place, answer  # type: ignore[return-value]

    under_way = 0
    for place in places:
        if under_way == at_once:
            yield taken()
            under_way -= 1
        Thread(target=ask_one, args=(place,), name=f"asking-{place}", daemon=True).start()
        under_way += 1
    for _ in range(under_way):
        yield taken()
