"""Ogg streams that were chained, one after another in one file, each as a source of its own.

FFmpeg gives up where the next one has other channels, another rate or another coder.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..source import ByteSource

MAGIC = b"OggS"
HEADER = 27  # bytes of a page; the sixth has flags, the last is the length of the table after it
BEGINS = 2  # the flag of the first page of a stream
BLOCK = 1 << 16  # most bytes taken at a time


class Links:
    """An Ogg file or pipe, to be read link by link. `is_cut`: it ends in the middle of a page."""

    def __init__(self, source: ByteSource) -> None:
        """Read nothing yet."""
        self.is_cut = False
        self._source = source
        self._ahead = b""  # bytes of the source
        self._next = b""  # the first page of the next link
        self._left = b""  # of the page that is passed on
        self._has_begun = False  # other pages of this link than first ones have come

    def __iter__(self) -> Iterator[ByteSource]:
        """Yield the links; what is not read of one is passed over."""
        while self._next or (page := self._page()):
            self._next = self._next or page
            self._has_begun = False
            yield ByteSource(self, self._source.name)  # type: ignore[arg-type]
            while self.read(BLOCK):
                pass

    def read(self, n: int) -> bytes:
        """Return at most n bytes of a page, nothing at the end of the link."""
        if not self._left:
            page, self._next = self._next or self._page(), b""
            is_first = page[:4] == MAGIC and len(page) > HEADER and bool(page[5] & BEGINS)
            if is_first and self._has_begun:
                self._next = page
                return b""
            self._has_begun |= not is_first
            self._left = page
        data, self._left = self._left[:n], self._left[n:]
        return data

    def _page(self) -> bytes:
        """Return the next page, or what stands in its place."""
        self._fill(HEADER)
        n = len(self._ahead)
        if not self._ahead.startswith(MAGIC):
            n = max(self._ahead.find(MAGIC), 0) or n
        elif n >= HEADER:
            self._fill(HEADER + self._ahead[HEADER - 1])
            table = self._ahead[HEADER : HEADER + self._ahead[HEADER - 1]]
            n = HEADER + len(table) + sum(table)
            self._fill(n)
            self.is_cut = len(self._ahead) < n
        page, self._ahead = self._ahead[:n], self._ahead[n:]
        return page

    def _fill(self, n: int) -> None:
        while len(self._ahead) < n and (more := self._source.read(BLOCK)):
            self._ahead += more
        self._source.check()
