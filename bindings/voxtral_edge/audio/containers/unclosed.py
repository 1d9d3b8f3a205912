"""Files that were never closed: their headers still say that there is nothing.

Whoever records writes the sizes when he is done. Until then they are those of an empty file, which
FFmpeg believes or refuses in AU, AIFF and Wave64; it is told that they are not known.
"""

from __future__ import annotations

from ..source import ByteSource

WAVE64 = b"riff\x2e\x91\xcf\x11"
FARTHEST = 1 << 16  # bytes of a header
LARGE = 1 << 40  # bytes that no recording has


def amend(source: ByteSource) -> bool:
    """Amend the sizes of a file that was never closed, and leave others as they are; whether."""
    head = source.head(12)
    if head[:4] == b".snd":
        if head[8:12] != bytes(4):
            return False
        source.amend(8, b"\xff" * 4)
        return True
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _amend_aiff(source)
    return head[:8] == WAVE64 and _amend_wave64(source)


def _amend_aiff(source: ByteSource) -> bool:
    head, at, frames = source.head(12), 12, 0
    end = 8 + int.from_bytes(head[4:8], "big")
    while at < FARTHEST and len(chunk := source.head(at + 8)[at:]) == 8 and chunk[:4] != b"SSND":
        if chunk[:4] == b"COMM":
            frames = at + 10
        size = int.from_bytes(chunk[4:], "big")
        at += 8 + size + size % 2
    if not frames or end > at + 16 or len(source.head(at + 17)) <= at + 16:
        return False
    source.amend(4, b"\x7f\xff\xff\xff")
    if int.from_bytes(chunk[4:], "big") <= 8:  # what comes before the samples
        source.amend(frames, b"\x7f\xff\xff\xff")
        source.amend(at + 4, b"\x7f\xff\xff\xff")
    return True


def _amend_wave64(source: ByteSource) -> bool:
    at = 40
    end = int.from_bytes(source.head(24)[16:], "little")
    while at < FARTHEST and len(chunk := source.head(at + 24)[at:]) == 24 and chunk[:4] != b"data":
        at += max(int.from_bytes(chunk[16:], "little") + 7, 24) & -8
    if end > at + 24 or len(source.head(at + 25)) <= at + 24:
        return False
    source.amend(16, LARGE.to_bytes(8, "little"))
    if int.from_bytes(chunk[16:], "little") <= 24:
        source.amend(at + 16, LARGE.to_bytes(8, "little"))
    return True
