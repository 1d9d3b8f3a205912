"""What the first bytes of a pipe or a file are, where a library need not or must not be asked.

Raw samples have no signature: a pipe carries them only if its first bytes belong to nothing else.
"""

from __future__ import annotations

import re

from ...errors import AudioError
from ..source import ByteSource

# Sound, video and what is met in their place, by their first bytes.
MAGIC = re.compile(
    rb"RIFF|RIFX|RF64|BW64|riff\x2e\x91\xcf\x11|FORM|OggS|fLaC|ID3[\x02-\x04]|\.snd|caff\0|#!AMR"
    rb"|.{4}(?:ftyp|moov|mdat|wide|free|skip|pnot)"  # QuickTime, MP4, M4A, 3GP
    rb"|\x1aE\xdf\xa3|0&\xb2u\x8ef\xcf\x11|FLV\x01|\0\0\x01[\xba\xb3]|\.RMF|\.ra\xfd|nut/"
    rb"|[FC]WS[\x01-\x30]|\x02?#!SILK"  # Flash; voice messages, which are refused
    rb"|wvpk|MAC |TTA1|TTA2|MPCK|MP\+|tBaK|DSD |FRM8|ADIF|ajkg|\x7f\xfe\x80\x01"
    rb"|Creative Voi|NIST_1A|\x64\xa3\x01\0|\x80\xa3\x01\0|2BIT|PVF1|SOUND|\.sd\0"
    rb"|%PDF|\x89PNG|GIF8|\xff\xd8\xff|\x7fELF|SQLite forma|\xd0\xcf\x11\xe0|GGUF",
    re.DOTALL,
)

ARCHIVES = {
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\3\4": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}

# What playlists begin with, or hold soon: HLS, the concat script, MPEG-DASH, SDP, IMF.
PLAYLIST = re.compile(
    rb"#EXTM3U|ffconcat version|[^\0]*(?:<MPD\b|<CompositionPlaylist\b)|v=0\r?\no="
)

HEAD = 12  # bytes that tell most signatures
TEXT = 512  # bytes of text that cannot be samples by chance
TS_SYNC = 0x47
TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of one and before its sync byte
FRAME_HEAD = 6  # bytes that tell the length of a frame

# kbit/s of MPEG audio by (is version 1, layer), ISO 11172-3 and 13818-3.
BIT_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

AC3_BIT_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
                 576, 640)  # fmt: skip


def refuse(source: ByteSource) -> None:
    """Raise AudioError for what is to be unpacked first, and for lists of other files."""
    head = source.head(HEAD)
    for magic, kind in ARCHIVES.items():
        if head.startswith(magic):
            raise AudioError(f"{source.name} is packed with {kind}: unpack it first")
    if _is_text(head) and PLAYLIST.match(source.head(4 * TEXT)):
        raise AudioError(f"{source.name} is a playlist, a list of other files: name those")


def is_raw(source: ByteSource) -> bool:
    """Whether a pipe can carry nothing but raw samples; raise AudioError if it carries text.

    Nearly always after its first 12 bytes; after about two frames where they might be coded sound.
    """
    head = source.head(HEAD)
    if MAGIC.match(head) or head.startswith(tuple(ARCHIVES)):
        return False
    if len(head) == HEAD and _is_text(head) and _is_text(source.head(TEXT)):
        raise AudioError(f"{source.name} carries text: check the program before it")
    if ts_packet(source):
        return False
    n = frame_bytes(head)
    return n == 0 or frame_bytes(source.head(n + HEAD)[n:]) == 0


def ts_packet(source: ByteSource) -> tuple[int, int] | None:
    """Return the one of TS_PACKETS that a source begins with, if it is such a stream."""
    if TS_SYNC not in source.head(HEAD)[:5:4]:
        return None
    head = source.head(3 * max(TS_PACKETS)[0])
    for size, at in TS_PACKETS:
        if head[at : at + 2 * size + 1 : size] == bytes([TS_SYNC]) * 3:
            return size, at
    return None


def frame_bytes(header: bytes) -> int:
    """Return the bytes of the frame of coded sound that a header opens; 0 if none does.

    Those of MPEG audio, of AAC as ADTS and LOAS have them, and of AC-3, the enhanced one as well.
    """
    if len(header) < FRAME_HEAD:
        return 0
    if header[:2] == b"\x0bw":
        return _ac3_bytes(header)
    if header[0] == 0x56 and header[1] >> 5 == 7:  # LOAS
        return ((header[1] & 31) << 8 | header[2]) + 3
    if header[0] != 0xFF or header[1] < 0xE0:
        return 0
    if header[1] & 0xF6 == 0xF0:  # ADTS
        n = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        return n if n > 7 and header[2] >> 2 & 15 < 13 else 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    row, column = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or not 0 < row < 15 or column == 3:
        return 0
    rate = (44_100, 48_000, 32_000)[column] >> (2, 0, 1, 0)[version]
    bits = 1000 * BIT_RATES[version == 3, layer][row - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits // rate + padding)
    return (72 if layer == 3 and version < 3 else 144) * bits // rate + padding


def _ac3_bytes(header: bytes) -> int:
    """Return the bytes of a frame of AC-3, ETSI TS 102 366."""
    version, row = header[5] >> 3, header[4] >> 1 & 31
    if version > 10:
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2 if version <= 16 else 0
    if header[4] >> 6 == 3 or row >= len(AC3_BIT_RATES):
        return 0
    rate = (48_000, 44_100, 32_000)[header[4] >> 6]
    n_words = 96_000 * AC3_BIT_RATES[row] // rate  # of a frame of 1536 samples
    return 2 * (n_words + (header[4] & 1 if rate == 44_100 else 0))


def tag_bytes(head: bytes) -> int:
    """Return the bytes of the ID3 tag that the first bytes of a file open; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    n = 0
    for byte in head[6:10]:  # seven bits each
        n = n << 7 | byte & 127
    return n + 10


def _is_text(data: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\n\r" for byte in data)
