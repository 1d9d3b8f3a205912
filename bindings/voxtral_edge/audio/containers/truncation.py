"""Whether a file or stream ends where its own header or its last frame says that it does.

Files of an index or a sample count tell it by their duration; here are those that tell it in bytes.
"""

from __future__ import annotations

import struct

from ...errors import AudioTruncated
from ..source import ByteSource
from . import wav
from .signatures import frame_bytes, tag_bytes

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the file properties object
NO_SIZE = 0x7F00_0000  # what writes to a pipe puts this or more where a size would be
SLACK = 8  # bytes that writers miscount
FARTHEST = 1 << 20  # bytes of a tag with a picture before the first frame


def announced_bytes(source: ByteSource) -> int:
    """Return how many bytes there are at the least, by the header; 0 if it does not say."""
    head = source.head(16)
    if form := wav.form(source):
        return form.start + (form.n_bytes or 0)
    if head[:4] == b"RIFF":  # AVI
        size = struct.unpack_from("<I", head, 4)[0]
        return size + 8 - SLACK if size < 1 << 31 else 0
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        size = int.from_bytes(head[4:8], "big")
        return size + 8 if size < NO_SIZE else 0
    if head[:4] == b".snd":
        start, size = struct.unpack_from(">II", head, 4)
        return start + size if size < NO_SIZE else 0
    if head[:4] == b"caff":
        return _announced_by_caf(source)
    if head == ASF:
        properties = source.head(1 << 13).partition(ASF_FILE)[2]
        return int.from_bytes(properties[24:32], "little")
    if head[:3] == b"ID3" or frame_bytes(head):
        return _announced_by_xing(source, head)
    return 0


def truncated(source: ByteSource, at_s: float) -> AudioTruncated:
    """Return the error of what breaks off at a time."""
    return AudioTruncated(f"{source.name} breaks off after {at_s:.1f} s: copy or record it again")


def _announced_by_caf(source: ByteSource) -> int:
    """Return where the samples of a CAF file end, 0 if they go on to its end."""
    at = 8
    while at < FARTHEST and len(chunk := source.head(at + 12)[at:]) == 12:
        size = int.from_bytes(chunk[4:], "big", signed=True)
        if size < 0:
            break
        at += 12 + size
        if chunk[:4] == b"data":
            return at
    return 0


def _announced_by_xing(source: ByteSource, head: bytes) -> int:
    """Return where an MP3 ends by the frame that encoders put first, which counts the bytes."""
    start = tag_bytes(head)
    if start > FARTHEST:
        return 0
    frame = source.head(start + 192)[start:]
    for name in (b"Xing", b"Info"):
        fields = frame.partition(name)[2]
        # Flags: 1, frames are counted; 2, bytes are.
        if len(fields) >= 12 and fields[3] & 2:
            at = 8 if fields[3] & 1 else 4
            return start + int.from_bytes(fields[at : at + 4], "big")
    return 0
