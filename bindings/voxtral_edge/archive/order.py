"""Which source comes next: short ones first, and none so late that all wait for it at the end.

Short to long, most of an archive is there soon, and what is wrong shows early. But where the
longest source that is left would take a worker as long as all others share the rest, it begins at
once; from there on it goes from long to short, so that all workers end together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .sources import Source


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

    def next(self, n_lanes: int) -> Source:
        """Take the next one; `n_lanes`: how many sources are worked on at once."""
        if self._again:
            source = self._again.popleft()
        else:
            waiting = self._waiting
            is_late = waiting[-1].guess_s * n_lanes >= self.left_s
            source = waiting.pop() if is_late else waiting.popleft()
        self.left_s -= source.guess_s
        return source

    def put_back(self, source: Source) -> None:
        """Have one that was begun come next."""
        self._again.append(source)
        self.left_s += source.guess_s
