"""Sound of every kind of file, of pipes and of video, by the libraries of FFmpeg (package av).

Samples stand where their time stamps put them, counted from where the picture begins: what is
missing before or between them becomes silence, so that subtitles fit. What cannot be decoded is
passed over, and joined files follow one another, as the program ffmpeg has it. Only the bytes of
the source are read: what names other files is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import AudioError
from ..arrays import Floats, convert, mixed
from ..source import NAMELESS, ByteSource
from . import ogg, truncation, unclosed
from .clock import Clock
from .signatures import FRAME_HEAD, frame_bytes
from .units import Units

if TYPE_CHECKING:
    from av import AudioFrame, Packet
    from av.container import InputContainer

BUFFER = 1 << 16  # bytes that are asked for at a time
BLOCK_S = 4  # seconds of a file that are handed out at a time
PROBE_S = 0.2  # seconds of a pipe that may be looked at before its first sample
MAX_FAILED = 2 / 3  # share of packets that may fail, as for the program ffmpeg
TS_DISCONT = 0x200  # the flag of formats whose time stamps may begin anew

# Formats that have their duration in the header, and how exact it is in seconds.
DURATIONS = {
    "flac": 1e-5, "tta": 1e-5, "wv": 1e-5,
    "mov,mp4,m4a,3gp,3g2,mj2": 0.5, "flv": 1.0, "matroska,webm": 1.0,
}  # fmt: skip
UNTIMED = ("flv", "matroska,webm")  # those whose packets need not have durations
MEASURED = ("aiff", "au", "caf", "mpegts")  # those whose bytes alone tell that they break off
# Coders whose frames may open with a header that tells their length.
FRAMED = ("aac", "aac_latm", "ac3", "eac3", "mp1", "mp2", "mp3")


def decode(source: ByteSource, *, endless: bool = False) -> Iterator[tuple[int, Floats]]:
    """Yield the first audio track as mono samples [n], each block with its rate.

    `endless`: the size in a WAV header is not to be believed. Raises AudioError for what has no
    sound that can be decoded, and AudioTruncated after the last samples of what breaks off.
    """
    is_ogg = source.head(4) == ogg.MAGIC
    blocks = _chained(source) if is_ogg else _decoded(source, endless=endless)
    yield from _gathered(blocks) if source.seekable() else blocks


def _chained(source: ByteSource) -> Iterator[tuple[int, Floats]]:
    """Yield the blocks of all links of an Ogg stream."""
    links, at_s, is_whole = ogg.Links(source), 0.0, True
    for link in links:
        try:
            for rate, samples in _decoded(link, endless=False):
                at_s += len(samples) / rate
                yield rate, samples
        except AudioError:
            if not at_s:
                raise
            is_whole = False
    if links.is_cut or not is_whole:
        raise truncation.truncated(source, at_s)


def _decoded(source: ByteSource, *, endless: bool) -> Iterator[tuple[int, Floats]]:
    """Yield the blocks of one container."""
    endless = unclosed.amend(source) or endless
    n_bytes = 0 if endless else truncation.announced_bytes(source)
    units = Units(source)
    options = {"ignore_length": "1"} if endless else {}
    if not source.seekable():
        options["analyzeduration"] = str(round(1e6 * PROBE_S))
    with _open(source, options) as container:
        track = _Track(container, source)
        yield from track.blocks()
        track.judge()
        if not endless and (track.breaks_off(n_bytes) or units.are_cut()):
            raise truncation.truncated(source, track.clock.at_s)


def duration_s(source: ByteSource) -> float | None:
    """Return the seconds of a file by its header or size, None if they do not tell them."""
    is_unclosed = unclosed.amend(source)
    with _open(source, {}) as container:
        return None if is_unclosed or container.duration is None else container.duration / 1e6


class _Track:
    """The first audio track of a container, and what is met while it is decoded."""

    def __init__(self, container: InputContainer, source: ByteSource) -> None:
        """Find it."""
        if not container.streams.audio:
            raise _unreadable(source, "there is no sound in it")
        self._stream = container.streams.audio[0]
        if getattr(self._stream, "codec_context", None) is None:
            raise _unreadable(source, "its sound is of an unknown kind")
        self._container, self._source = container, source
        self._start_s = (container.start_time or 0) / 1e6
        self.clock = Clock(begins_anew=bool(container.format.flags & TS_DISCONT))
        self._n_good = self._n_failed = 0  # packets
        self._end_s = self._step_s = 0.0  # of all tracks: where they end, the longest step to it
        self._last: Packet[Any] | None = None
        self._is_framed = False  # packets are frames of FRAMED
        self._has_failed = False  # with the last packet
        self._has_stopped = False  # at something that is no packet

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield samples [n], and silence where there are none, each with its rate."""
        for frame in self._frames():
            samples, rate = _mono(frame, self._source.name), frame.sample_rate
            stamp_s = None if frame.time is None else frame.time - max(self._start_s, 0.0)
            n_silent = round(rate * self.clock.gap_s(stamp_s, len(samples) / rate))
            for at in range(0, n_silent, rate * BLOCK_S):
                yield rate, np.zeros(min(n_silent - at, rate * BLOCK_S), np.float32)
            yield rate, samples

    def judge(self) -> None:
        """Raise AudioError for what was no sound, or hardly any."""
        name = self._source.name
        if not self._n_good and (self._has_failed or self._has_stopped):
            raise AudioError(
                f"{name} holds no sound that can be decoded: it is damaged, protected, or cannot "
                "be read from a pipe"
            )
        if self._n_failed > MAX_FAILED * (self._n_good + self._n_failed):
            raise AudioError(f"{name} is damaged: copy it again")

    def breaks_off(self, n_bytes: int) -> bool:
        """Whether more was announced; `n_bytes`: of the source, by its header, 0 if unknown."""
        format, duration = self._container.format.name, self._container.duration
        if n_bytes:
            return not self._source.has(n_bytes)
        if format in DURATIONS and duration is not None:
            slack_s = DURATIONS[format]
            if format in UNTIMED:  # the last picture may stand for as long as those before it
                slack_s = max(slack_s, self._step_s)
            is_short = self._end_s - min(self._start_s, 0.0) < duration / 1e6 - slack_s
            return is_short or (self._last is not None and self._last.is_corrupt)
        if format in MEASURED:
            return False
        if self._has_stopped or self._last is None:
            return self._has_stopped
        n_bytes = frame_bytes(bytes(self._last)) if self._is_framed else 0
        if n_bytes or self._last.is_corrupt:
            return n_bytes > self._last.size or self._last.is_corrupt
        return self._has_failed and (not self._is_framed or self._last.size < FRAME_HEAD)

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield all that can be decoded."""
        import av

        for packet in self._packets():
            if packet.pts is not None and packet.time_base is not None:
                end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._step_s = max(self._step_s, end_s - self._end_s)
                self._end_s = max(self._end_s, end_s)
            if packet.stream is not self._stream:
                continue
            if packet.size:
                if self._last is None:
                    coder = self._stream.codec_context.codec.canonical_name
                    self._is_framed = coder in FRAMED and frame_bytes(bytes(packet)) > 0
                self._last = packet
            try:
                frames = self._stream.codec_context.decode(packet)
            except (av.FFmpegError, ValueError):  # the latter of what could not be opened before
                self._has_failed = True
                self._n_failed += 1
                continue
            if packet.size:
                self._has_failed = False
                self._n_good += 1
            yield from frames

    def _packets(self) -> Iterator[Packet[Any]]:
        import av

        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                packet = None
                self._has_stopped = True
            except IndexError:  # of a track that was not there at first: passed over
                packets = self._container.demux()
                continue
            self._source.check()
            if packet is None:
                return
            yield packet


def _open(source: ByteSource, options: dict[str, str]) -> InputContainer:
    import av

    def refuse(url: str, *_: object) -> NoReturn:
        error = AudioError(f"{source.name} is a list of other files: name those")
        source.fail(error)
        raise error

    # Tags need not be UTF-8. From PyAV 19 on that goes without saying, and may not be said.
    is_strict = int(av.__version__.split(".")[0]) < 19
    tags: dict[str, Any] = {"metadata_errors": "replace"} if is_strict else {}
    try:
        container: InputContainer = av.open(
            source,
            "r",
            container_options={"protocol_whitelist": "none", **options},
            buffer_size=BUFFER,
            io_open=refuse,
            **tags,
        )
    except av.FFmpegError as error:
        source.check()
        raise _unreadable(source, str(error.strerror)) from None
    return container


def _unreadable(source: ByteSource, reason: str) -> AudioError:
    remedy = "check that it is whole and has sound"
    if source.name == NAMELESS:
        remedy += ", or make an array of samples, for instance numpy.frombuffer(audio, numpy.int16)"
    return AudioError(f"{source.name} is not audio that can be read ({reason}): {remedy}")


def _mono(frame: AudioFrame, name: str) -> Floats:
    """Return the samples of a frame, mixed down to one channel: [n]."""
    try:
        array = frame.to_ndarray()
    except ValueError:
        kind = frame.format.name
        raise AudioError(f"{name} has samples of type {kind}: export it as 16-bit PCM") from None
    frames = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    if frames.dtype == np.uint8:
        frames = (frames.astype(np.int16) - 128) << 8
    return mixed(convert(frames))


def _gathered(blocks: Iterable[tuple[int, Floats]]) -> Iterator[tuple[int, Floats]]:
    """Yield the same in larger blocks, and all of them before an error."""
    parts: list[Floats] = []
    n = rate = 0
    failure: AudioError | None = None
    try:
        for next_rate, samples in blocks:
            if parts and (next_rate != rate or n >= rate * BLOCK_S):
                yield rate, np.concatenate(parts)
                parts, n = [], 0
            rate = next_rate
            parts.append(samples)
            n += len(samples)
    except AudioError as error:
        failure = error
    if parts:
        yield rate, np.concatenate(parts)
    if failure:
        raise failure
