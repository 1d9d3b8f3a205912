"""Which source comes next, and who gets it, so that all workers end together.

Short to long, most of an archive is there soon, and what is wrong shows early. But when the longest
source that is left would take a worker of its own half as long as all of them take for the rest, it
begins; from there on it goes from long to short. The files of a worker share what it can do, so
a source goes to the worker that would have done all it has the soonest, and to none that would
still be at it when all others have ended, unless it has nothing else to do.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .sources import Source

SLACK = 1.001  # sums of floats are not exact
HEADROOM = 2  # so early that also a worker with more to do than others can take a long source


@dataclass(slots=True)
class Hand:
    """A worker that has room for `n_free` files: what it has to do, and how much per second."""

    to_do_s: float
    rate: float
    n_free: int


class Order:
    """The sources that nobody works on."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Sort them."""
        self._waiting = deque(sorted(sources, key=lambda source: (source.guess_s, source.id)))
        self._again: deque[Source] = deque()  # what was begun before
        self.left_s = sum(source.guess_s for source in self._waiting)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._waiting) + len(self._again)

    def deal(
        self, hands: list[Hand], n_workers: int, rate: float, at_work_s: float
    ) -> Iterator[tuple[int, Source]]:
        """Yield which of the hands, which are changed, gets which source.

        n_workers: all that are at work, with room or without; rate: what they do per second;
        at_work_s: what they have to do.
        """
        if not hands:
            return
        end_s = SLACK * (self.left_s + at_work_s) / rate
        room = [(hand.to_do_s / hand.rate, i) for i, hand in enumerate(hands) if hand.n_free]
        heapq.heapify(room)
        while room and len(self):
            _, i = heapq.heappop(room)
            hand, choice = hands[i], [*self._next(n_workers)]
            most_s = end_s * hand.rate - hand.to_do_s
            source = next((each for each in choice if each.guess_s <= most_s), choice[-1])
            if hand.to_do_s and source.guess_s > most_s:
                continue
            self._take(source)
            hand.to_do_s += source.guess_s
            hand.n_free -= 1
            if hand.n_free:
                heapq.heappush(room, (hand.to_do_s / hand.rate, i))
            yield i, source

    def put_back(self, source: Source) -> None:
        """Have one that was begun come next."""
        self._again.append(source)
        self.left_s += source.guess_s

    def _next(self, n_workers: int) -> Iterator[Source]:
        """Yield those of which one comes next, the best first."""
        if self._again:
            yield self._again[0]
        if self._waiting:
            late_s = HEADROOM * self._waiting[-1].guess_s * n_workers
            if n_workers > 1 and late_s >= self.left_s:
                yield self._waiting[-1]
            yield self._waiting[0]

    def _take(self, source: Source) -> None:
        if self._again and source is self._again[0]:
            self._again.popleft()
        elif source is self._waiting[0]:
            self._waiting.popleft()
        else:
            self._waiting.pop()
        self.left_s -= source.guess_s
