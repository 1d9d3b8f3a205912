"""Containers that are a row of units, each of which tells its length: whether one is cut short.

A live recording announces neither bytes nor seconds; that it breaks off is seen at its last unit.
"""

from __future__ import annotations

from collections.abc import Callable

from ..source import ByteSource
from .signatures import TS_SYNC, ts_packet

HEAD = 16  # bytes that tell the length of every unit
EBML = (  # the elements that are met outside of others with an end: header, segment,
    "1a45dfa3", "18538067",
    "114d9b74", "1549a966", "1654ae6b", "1f43b675", "1c53bb6b", "1254c367", "1941a469", "1043a770",
    "ec", "bf",  # what is in a segment, to be passed over, a sum,
    "e7", "5854", "a7", "ab", "a3", "a0", "af",  # and what is in a cluster
)  # fmt: skip
FLV_TAGS = (8, 9, 18)  # sound, picture, names and values
PS_PACK, PS_END, PS_FIRST = 0xBA, 0xB9, 0xBB  # start codes; from the last on, units have a length


def ebml(head: bytes) -> int:
    """Return the bytes of a Matroska element; of one without an end of its own, of its head."""
    n_id = 9 - head[0].bit_length()
    if len(head) <= n_id:
        return n_id + 1
    if head[:n_id].hex() not in EBML:
        return 0
    n_size = 9 - head[n_id].bit_length()
    unknown = (1 << 7 * n_size) - 1
    size = int.from_bytes(head[n_id : n_id + n_size], "big") & unknown
    return 0 if n_size > 8 else n_id + n_size + (0 if size == unknown else size)


def box(head: bytes) -> int:
    """Return the bytes of a box of MP4 and QuickTime; 0 if it has no end of its own."""
    if not head[4:8].isalnum():
        return 0 if len(head) >= 8 else 8
    size = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:16], "big") if size == 1 else size


def flv(head: bytes) -> int:
    """Return the bytes of a tag of Flash video with the length of the one before it."""
    if head[:3] == b"FLV":
        return int.from_bytes(head[5:9], "big")
    if len(head) <= 4:
        return 4
    return 15 + int.from_bytes(head[5:8], "big") if head[4] in FLV_TAGS else 0


def program_stream(head: bytes) -> int:
    """Return the bytes of a pack's head, or of a packet, of an MPEG program stream."""
    if head[:3] != b"\0\0\1"[: len(head)]:
        return 0
    if len(head) < 4 or head[3] == PS_END:
        return 4
    if head[3] == PS_PACK:  # MPEG-2 tells in it how much stuffing follows
        is_newer = len(head) > 4 and head[4] >> 6 == 1
        return (14 + (head[13] & 7 if len(head) > 13 else 0)) if is_newer else 12
    return 6 + int.from_bytes(head[4:6], "big") if head[3] >= PS_FIRST else 0


def riff(head: bytes) -> int:
    """Return the bytes of a chunk of AVI; of a list of chunks, of its head."""
    if head[:4] in (b"RIFF", b"LIST"):
        return 12
    size = int.from_bytes(head[4:8], "little")
    return 8 + size + size % 2 if head[:4].isalnum() else 0


def length_of(head: bytes) -> Callable[[bytes], int] | None:
    """Return what tells the lengths of units by their first bytes, where the kind has any.

    It says 0 for what is no unit, and may say more than there is of one that is cut in its head.
    """
    for magic, length in (
        (b"\x1aE\xdf\xa3", ebml),
        (b"FLV\1", flv),
        (b"\0\0\1\xba", program_stream),
    ):
        if head.startswith(magic):
            return length
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return riff
    return box if head[4:8] in (b"ftyp", b"moov", b"mdat", b"styp") else None


class Units:
    """The units of a source; those of a pipe are watched from here on as its bytes go by."""

    def __init__(self, source: ByteSource) -> None:
        """Look at the first bytes."""
        self._source = source
        self._length = length_of(source.head(HEAD))
        self._packet = ts_packet(source)
        self._n_left = 0  # bytes of a pipe's unit that are still to come
        self._head = b""  # bytes of the one after it
        if self._length and not source.seekable():
            source.watch(self._pass)

    def are_cut(self) -> bool:
        """Whether the last of them is not all there; a pipe is read to its end."""
        if not self._source.seekable():
            while self._source.read(1 << 16):
                pass
            self._pass(b"", is_end=True)
            return self._packet_is_cut() or (self._length is not None and self._n_left > 0)
        if self._packet:
            return self._packet_is_cut()
        at = 0
        while self._length and (head := self._source.at(at, HEAD)):
            n = self._length(head)
            if n == 0:
                return False
            at += n
        return at > self._source.n_bytes

    def _packet_is_cut(self) -> bool:
        """Whether a transport stream, whose packets are of one length, ends within one."""
        size, at = self._packet or (1, 0)
        n = self._source.n_bytes % size
        return n > at and self._source.tail(n)[at] == TS_SYNC

    def _pass(self, data: bytes, is_end: bool = False) -> None:
        """Go on by bytes of a pipe."""
        while self._length and (data or self._head):
            n = min(self._n_left, len(data))
            self._n_left -= n
            self._head += data[n:]
            data = b""
            if self._n_left or not self._head or (len(self._head) < HEAD and not is_end):
                return
            n = self._length(self._head[:HEAD])
            if n == 0:
                self._length = None
            data, self._head, self._n_left = self._head, b"", n
