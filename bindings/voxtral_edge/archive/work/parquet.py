"""A table of words in Parquet: what an archive is searched with.

A row per word: `source`, the id; `n`, which word of it, from 0; `word`, without the space before
it; `start_ms` and `end_ms`, which are approximate; `confidence`, 0 to 1.
"""

from __future__ import annotations

import io

from ...errors import ArgumentError
from ...text.formats import Format, Origin
from ...text.words import Word

NAME = "parquet"


def check() -> None:
    """Raise ArgumentError if such tables cannot be written here."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ArgumentError(
            "--format parquet needs pyarrow: pip install 'voxtral-edge[archive]'"
        ) from None
    assert pyarrow.parquet


def is_parquet(head: bytes) -> bool:
    """Whether a file that opens with these bytes is such a table."""
    return head.startswith(b"PAR1")


class Parquet(Format):
    """Collects words for a table."""

    def __init__(self, origin: Origin) -> None:
        """Begin without words."""
        super().__init__(origin)
        self._words: list[Word] = []

    def word(self, word: Word) -> str:
        """Keep the word."""
        self._words.append(word)
        return ""

    def data(self) -> bytes:
        """Return the file of the table."""
        import pyarrow as pa
        from pyarrow import parquet

        columns = {
            "source": pa.array([self.origin.file or ""] * len(self._words), pa.string()),
            "n": pa.array(range(len(self._words)), pa.int32()),
            "word": pa.array([word.text.strip() for word in self._words], pa.string()),
            "start_ms": pa.array([word.start_ms for word in self._words], pa.int64()),
            "end_ms": pa.array([word.end_ms for word in self._words], pa.int64()),
            "confidence": pa.array([word.confidence for word in self._words], pa.float32()),
        }
        file = io.BytesIO()
        parquet.write_table(pa.table(columns), file)
        return file.getvalue()
