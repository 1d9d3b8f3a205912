"""Files of sound and video for tests, made by PyAV, and what is done to them."""

from __future__ import annotations

import contextlib
import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

RATE = 16_000
PICTURE_CODECS = {"webm": "libvpx", "flv": "flv"}

# Formats, as the muxer and the coder are called, and whether they can be read without going back.
KINDS = {
    "aac": ("adts", "aac", True),
    "ac3": ("ac3", "ac3", True),
    "aiff": ("aiff", "pcm_s16be", True),
    "au": ("au", "pcm_s16be", True),
    "avi": ("avi", "pcm_s16le", True),
    "caf": ("caf", "pcm_s16be", True),
    "flac": ("flac", "flac", True),
    "flv": ("flv", "aac", True),
    "m4a": ("ipod", "aac", False),
    "mka": ("matroska", "flac", True),
    "mp2": ("mp2", "mp2", True),
    "mp3": ("mp3", "libmp3lame", True),
    "ogg": ("ogg", "flac", True),
    "opus": ("ogg", "libopus", True),
    "ts": ("mpegts", "mp2", True),
    "tta": ("tta", "tta", True),
    "w64": ("w64", "pcm_s24le", True),
    "webm": ("webm", "libopus", True),
}

# What else may break off: muxer, coder, rate, and the options of a live recording, which is written
# without going back.
BROKEN = {
    "adts": ("adts", "aac", RATE, None),
    "amr": ("amr", "libopencore_amrnb", 8000, None),
    "asf": ("asf", "libmp3lame", 44_100, None),
    "eac3": ("eac3", "eac3", 48_000, None),
    "latm": ("latm", "aac", RATE, None),
    "mpeg": ("mpeg", "mp2", 48_000, None),
    "nut": ("nut", "aac", RATE, None),
    "rm": ("rm", "ac3", 48_000, None),
    "swf": ("swf", "libmp3lame", 44_100, None),
    "vob": ("vob", "ac3", 48_000, None),
    "voc": ("voc", "pcm_u8", RATE, None),
    "m2ts": ("mpegts", "ac3", 48_000, {"mpegts_m2ts_mode": "1"}),
    "live flac": ("flac", "flac", RATE, {}),
    "live flv": ("flv", "aac", 44_100, {}),
    "live m4a": ("ipod", "aac", RATE, {"movflags": "frag_keyframe+empty_moov"}),
    "live mka": ("matroska", "pcm_s16le", RATE, {"live": "1"}),
    "live mkv": ("matroska", "aac", RATE, {"live": "1"}),
    "live webm": ("webm", "libopus", 48_000, {"live": "1"}),
}


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time, and only once."""

    def __init__(self, data: bytes, size: int = 1000) -> None:
        self._source, self._size = io.BytesIO(data), size

    def read(self, n: int = -1) -> bytes:
        return self._source.read(min(n, self._size) if n >= 0 else self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._source.tell()


def encode(
    samples: np.ndarray,
    format: str,
    codec: str,
    *,
    rate: int = RATE,
    late_s: float = 0.0,
    gap: tuple[float, float] = (0.0, 0.0),
    film_s: float = 0.0,
    pictures: Fraction = Fraction(5),
    path: Path | None = None,
    seekable: bool = True,
    options: dict[str, str] | None = None,
) -> bytes:
    """Return float32 samples [n] of `rate` in a container; 44.1 or 48 kHz where others cannot be.

    `late_s`: their first time stamp. `gap`: from which second of theirs on stamps are later, and by
    how much. `film_s`: seconds of a picture track that begins at 0, with so many `pictures`
    a second. `path`: a file to be made of
    it; `seekable`: whether the muxer may go back, as in a file.
    """
    out: Any = (path and str(path)) or (io.BytesIO() if seekable else _Sink())
    with av.open(out, "w", format=format, options=options or {}) as container:
        if film_s:
            film = container.add_stream(PICTURE_CODECS.get(format, "mpeg4"), pictures)
            film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        track = container.add_stream(codec, rate)
        track.layout = "mono"
        packets = []
        for i in range(int(film_s * pictures)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 32), 128, np.uint8), "yuv420p")
            frame.pts, frame.time_base = i, 1 / pictures
            packets += film.encode(frame)
        packets += film.encode() if film_s else []
        resampler = av.AudioResampler(track.format, track.layout, rate, track.frame_size or 1024)
        sound = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        sound.sample_rate, sound.pts = rate, 0
        for frame in [*resampler.resample(sound), *resampler.resample(None)]:
            at_s = frame.pts / rate
            frame.pts += round(rate * (late_s + (gap[1] if at_s >= gap[0] else 0.0)))
            packets += track.encode(frame)
        packets += track.encode()
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    return path.read_bytes() if path else out.getvalue()


class _Sink:
    """What is written to a pipe."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


def of_kind(kind: str, samples: np.ndarray, **options: Any) -> bytes:
    """Return 16 kHz samples [n] as one of KINDS."""
    format, codec, _ = KINDS[kind]
    rate = 44_100 if kind == "flv" else 48_000 if codec == "libopus" or kind == "ac3" else RATE
    return encode(at_rate(samples, rate), format, codec, rate=rate, **options)


def broken(kind: str, samples: np.ndarray) -> bytes:
    """Return 16 kHz samples [n] as one of KINDS or BROKEN, all of it."""
    if kind in KINDS:
        return of_kind(kind, samples)
    format, codec, rate, live = BROKEN[kind]
    samples = at_rate(samples, rate)
    return encode(samples, format, codec, rate=rate, seekable=live is None, options=live)


def flv_is_whole(data: bytes) -> bool:
    """Whether Flash video ends with the length of its last tag."""
    n = int.from_bytes(data[-4:], "big")
    return (
        n < len(data) - 4
        and data[-4 - n] in (8, 9, 18)
        and data[-3 - n :][:3] == (n - 11).to_bytes(3, "big")
    )


def decoded_s(file: io.RawIOBase | io.BytesIO) -> float:
    """Return the seconds of sound that FFmpeg itself has of it, whatever fails."""
    n_s = 0.0
    with av.open(file) as container:
        track = container.streams.audio[0]
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return n_s
            if packet is None:
                return n_s
            with contextlib.suppress(av.FFmpegError):  # of the packet, or EOFError of the flush
                n_s += sum(f.samples / f.sample_rate for f in track.codec_context.decode(packet))


def at_rate(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, RATE, rate).astype(np.float32)


def onsets(samples: np.ndarray, least_s: float = 0.5) -> list[float]:
    """Seconds at which sound begins after at least so much silence."""
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    after = np.flatnonzero(np.diff(loud, prepend=-(10**9)) > least_s * RATE)
    return [float(loud[i]) / RATE for i in after]


def wav(
    data: bytes,
    *,
    bits: int = 16,
    n_channels: int = 1,
    rate: int = RATE,
    tag: int = 1,
    size: int | None = None,
    order: str = "<",
    long_size: int | None = None,
) -> bytes:
    """Return a WAV file of coded samples; `size`, and `long_size` of RF64: as its header says."""
    size = len(data) if size is None else size
    frame = n_channels * bits // 8
    fmt = struct.pack(f"{order}HHIIHH", tag, n_channels, rate, rate * frame, frame, bits)
    ds64 = b""
    kind = b"RIFF" if order == "<" else b"RIFX"
    if long_size is not None:
        kind, size = b"RF64", 2**32 - 1
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, long_size + 72, long_size, 0, 0)
    body = b"WAVE" + ds64 + b"fmt " + struct.pack(f"{order}I", 16) + fmt
    body += b"data" + struct.pack(f"{order}I", size) + data
    return kind + struct.pack(f"{order}I", min(size + 36, 2**32 - 1)) + body
