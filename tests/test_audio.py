"""Audio in every form becomes the same samples, or is refused with the line that mends it."""

from __future__ import annotations

import array
import io
import os
import struct
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import voxtral_edge as vox
from voxtral_edge.audio import BLOCK, as_samples, chunks, read_pcm

# ---- arrays -------------------------------------------------------------------------------------


def test_float32_is_not_copied(noise: np.ndarray) -> None:
    assert as_samples(noise) is noise
    assert np.shares_memory(as_samples(memoryview(noise)), noise)
    readonly = noise.copy()
    readonly.flags.writeable = False
    assert as_samples(readonly) is readonly


def test_conversions() -> None:
    whole = np.array([-32768, -1, 0, 1, 32767], np.int16)
    expected = whole / np.float32(32768)
    unaligned = np.frombuffer(b"\0" + expected.tobytes(), np.float32, offset=1)
    for audio in (
        whole,
        whole.astype(">i2"),
        array.array("h", whole.tolist()),
        expected.astype(np.float64),
        expected.astype(">f4"),
        array.array("f", expected.tolist()),
        np.repeat(expected, 3)[::3],
        unaligned,
    ):
        samples = as_samples(audio)
        assert samples.dtype == np.float32
        assert samples.flags.c_contiguous
        assert samples.flags.aligned
        assert samples.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("audio", "fix"),
    [
        (np.zeros((100, 2), np.float32), r"\(100, 2\).*audio\.mean\(axis=1\)"),
        (np.zeros((2, 100), np.float32), r"audio\.mean\(axis=0\)"),
        (np.zeros((1, 2, 3), np.float32), "3 dimensions"),
        (np.float32(1), "0 dimensions"),
        (np.zeros(9, np.int32), r"audio / 2\*\*31"),
        (np.zeros(9, np.float16), r"audio\.astype\(numpy\.float32\)"),
        (np.zeros(9, bool), "bool"),
        (np.zeros(9, complex), "complex"),
        (b"\0\0\0\0", r"numpy\.frombuffer\(audio, numpy\.int16\)"),
        ([0.0, 0.5], r"list: use numpy\.asarray\(audio, numpy\.float32\)"),
        (None, "NoneType"),
        (3, "int"),
    ],
)
def test_refusals_tell_the_fix(tiny: vox.Model, audio: object, fix: str) -> None:
    with tiny.stream() as stream:
        with pytest.raises(vox.AudioError, match=fix) as caught:
            stream.feed(audio)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert stream.pending == 0


def test_float64_too_large_for_float32(tiny: vox.Model) -> None:
    with tiny.stream() as stream, pytest.raises(vox.AudioError, match="not finite"):
        stream.feed(np.array([1e300]))


def test_chunks_of_an_array_are_bounded() -> None:
    audio = np.arange(3 * BLOCK + 5, dtype=np.int16)
    parts = list(chunks(audio))
    assert [len(part) for part in parts] == [BLOCK] * 3 + [5]
    assert np.array_equal(np.concatenate(parts), audio / np.float32(32768))
    assert list(chunks(np.zeros(0, np.float32))) == []
    for bad in (3, None, object()):
        with pytest.raises(vox.AudioError, match="a path, an array or an iterable"):
            next(chunks(bad))  # type: ignore[arg-type]


# ---- resampling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("n", [0, 1, 99, 48_000, BLOCK + 1, 2 * BLOCK + 4321])
def test_file_in_blocks_is_resampled_as_if_whole(tmp_path: Path, rate: int, n: int) -> None:
    audio = np.random.default_rng(n).uniform(-0.5, 0.5, n).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", audio, rate, subtype="FLOAT")
    samples = np.concatenate([np.zeros(0, np.float32), *vox.read(tmp_path / "x.wav")])
    assert np.array_equal(samples, soxr.resample(audio, rate, 16000, quality="HQ"))
    assert np.array_equal(samples, vox.resample(audio, rate))
    assert abs(len(samples) - n * 16000 / rate) <= 1


def test_a_tone_keeps_its_pitch_and_level() -> None:
    seconds = np.arange(48_000) / 48_000
    samples = vox.resample(np.sin(2 * np.pi * 440 * seconds), 48_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3


@pytest.mark.parametrize("rate", [0, -1, 3, 10**9, float("nan")])
def test_rates_that_cannot_be(rate: float) -> None:
    with pytest.raises(vox.AudioError, match="sampling rate"):
        vox.resample(np.zeros(10, np.float32), rate)


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("x.wav", "PCM_16"),
        ("x.wav", "PCM_24"),
        ("x.wav", "PCM_U8"),
        ("x.wav", "FLOAT"),
        ("x.wav", "DOUBLE"),
        ("x.flac", "PCM_16"),
        ("x.ogg", "VORBIS"),
        ("x.mp3", "MPEG_LAYER_III"),
        ("x.aiff", "PCM_16"),
    ],
)
def test_formats(tmp_path: Path, digits: np.ndarray, name: str, subtype: str) -> None:
    path = tmp_path / name
    soundfile.write(path, digits, 16000, subtype=subtype)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        samples = np.concatenate(list(vox.read(source)))
        assert np.abs(np.abs(samples).max() - np.abs(digits).max()) < 0.1
        # Coders add a few milliseconds at the ends.
        assert -1 < len(samples) - len(digits) < 4000
        if subtype.startswith("PCM_16"):
            assert np.array_equal(samples, digits)


def test_channels_are_averaged(tmp_path: Path, digits: np.ndarray) -> None:
    both = np.stack([digits, np.zeros_like(digits)], axis=1)
    soundfile.write(tmp_path / "x.wav", both, 16000, subtype="FLOAT")
    samples = np.concatenate(list(vox.read(tmp_path / "x.wav")))
    assert np.array_equal(samples, digits / 2)


def test_long_file_takes_little_memory(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "x.wav", "w", 48_000, 2, "PCM_16") as file:
        for _ in range(40):
            file.write(np.zeros((480_000, 2), np.int16))
    tracemalloc.start()
    n = sum(len(block) for block in vox.read(tmp_path / "x.wav"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 40 * 160_000
    assert peak < 4 * 2**20


def test_files_that_are_no_audio(tmp_path: Path) -> None:
    text, empty, raw = (tmp_path / name for name in ("text.wav", "empty.wav", "samples.raw"))
    raw.write_bytes(bytes(range(256)) * 100)
    text.write_text("This is a text.\n" * 100)
    empty.write_bytes(b"")
    cases = [
        (text, vox.AudioError, "not audio that can be read"),
        (raw, vox.AudioError, "not audio that can be read"),
        (empty, vox.AudioError, "is empty"),
        (tmp_path / "none.wav", FileNotFoundError, "none.wav"),
        (tmp_path, IsADirectoryError, str(tmp_path)),
    ]
    for path, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            next(vox.read(path))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    with pytest.raises(vox.AudioError, match=r"the audio file is not audio that can be read"):
        next(vox.read(io.BytesIO(b"no audio")))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, digits: np.ndarray, bad: float) -> None:
    digits = digits.copy()
    digits[70_000] = bad
    path = tmp_path / "x.wav"
    soundfile.write(path, digits, 16000, subtype="FLOAT")
    with pytest.raises(vox.AudioError, match=r"x\.wav .*not finite near 4\.4 s.*16-bit"):
        list(vox.read(path))
    with pytest.raises(vox.AudioError, match=r"the pipe .*not finite"):
        list(read_pcm(io.BytesIO(path.read_bytes())))


# ---- pipes --------------------------------------------------------------------------------------


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, size: int) -> None:
        self.source, self.size = io.BytesIO(data), size

    def read(self, n: int = -1) -> bytes:
        return self.source.read(min(n, self.size) if n >= 0 else self.size)

    def seekable(self) -> bool:
        return False


def wav(
    pcm: bytes,
    *,
    rate: int = 16000,
    n_channels: int = 1,
    tag: int = 1,
    bits: int = 16,
    size: int | None = None,
    extra: bytes = b"",
    extensible: bool = False,
) -> bytes:
    """A WAV stream; `size`: what its header claims; `extra`: chunks before the samples."""
    frame = n_channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, n_channels, rate, rate * frame, frame, bits)
    if extensible:
        fmt = struct.pack("<H", 0xFFFE) + fmt[2:]
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + bytes.fromhex(
            "000000001000800000aa00389b71"
        )
    size = len(pcm) if size is None else size
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + extra
    body += b"data" + struct.pack("<I", size) + pcm
    return b"RIFF" + struct.pack("<I", min(size, 2**32 - 1)) + body


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(-30_000, 30_000, 5001).astype(np.int16)


def expected_of(clip: np.ndarray) -> list[float]:
    return (clip / np.float32(32768)).tolist()


@pytest.mark.parametrize("size", [1, 7, 4096, 10**6])
@pytest.mark.parametrize("tail", [b"", b"\x01"])
def test_raw_pipe(clip: np.ndarray, size: int, tail: bytes) -> None:
    blocks = list(read_pcm(Trickle(clip.tobytes() + tail, size)))  # type: ignore[arg-type]
    assert np.concatenate(blocks).tolist() == expected_of(clip)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("claimed", [None, 0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_pipe(clip: np.ndarray, size: int, claimed: int | None) -> None:
    """Writers to a pipe do not know the length; readers then go on to the end."""
    stream = wav(clip.tobytes(), size=claimed, extra=b"LIST\x05\0\0\0abcde\0")
    blocks = list(read_pcm(Trickle(stream, size)))  # type: ignore[arg-type]
    assert np.concatenate(blocks).tolist() == expected_of(clip)


def test_wav_pipe_with_chunks_after_the_samples(clip: np.ndarray) -> None:
    stream = wav(clip.tobytes()) + b"LIST\x04\0\0\0abcd"
    assert np.concatenate(list(read_pcm(io.BytesIO(stream)))).tolist() == expected_of(clip)


def test_wav_pipe_encodings(clip: np.ndarray) -> None:
    wide = clip.astype(np.int32) << 16
    as_24 = wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    stereo = np.stack([clip, clip], axis=1).tobytes()
    streams = {
        "24 bits": wav(as_24, bits=24),
        "32 bits": wav(wide.tobytes(), bits=32),
        "float": wav((clip / np.float32(32768)).tobytes(), tag=3, bits=32),
        "stereo": wav(stereo, n_channels=2),
        "extensible": wav(clip.tobytes(), extensible=True),
        "extensible float": wav(
            (clip / np.float32(32768)).tobytes(), tag=3, bits=32, extensible=True
        ),
    }
    for name, stream in streams.items():
        for size in (5, 100_000):
            blocks = list(read_pcm(Trickle(stream, size)))  # type: ignore[arg-type]
            assert np.concatenate(blocks).tolist() == expected_of(clip), name


def test_wav_pipe_is_resampled(clip: np.ndarray) -> None:
    blocks = list(read_pcm(Trickle(wav(clip.tobytes(), rate=44100), 1000)))  # type: ignore[arg-type]
    expected = soxr.resample(clip / np.float32(32768), 44100, 16000, quality="HQ")
    assert np.array_equal(np.concatenate(blocks), expected)


def test_samples_are_never_taken_for_another_format() -> None:
    """Loud or quiet, whatever the first of them are; and those that a header could begin with."""
    random = np.random.default_rng(1)
    for scale in (2, 300, 30_000):
        for _ in range(300):
            noise = random.integers(-scale, scale + 1, 1000).astype("<i2")
            assert len(np.concatenate(list(read_pcm(io.BytesIO(noise.tobytes()))))) == 1000
    for first in (b"\xff\xfb\x90\x64", b"\xff\xf1\x50\x80", b"GG", b"\xff\xff\xff\xff"):
        data = first + random.bytes(4000)
        assert len(np.concatenate(list(read_pcm(io.BytesIO(data))))) == len(data) // 2


def test_raw_is_raw_whatever_it_begins_with(clip: np.ndarray) -> None:
    data = b"RIFF" + clip.tobytes()
    assert len(np.concatenate(list(read_pcm(io.BytesIO(data), raw=True)))) == len(clip) + 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF\0\0\0\0AVI LIST", "not audio"),
        (b"RIFF\0\0\0\0WAVE", "not audio"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0", "not audio"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0\0\0", "not audio"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xffabc", "not audio"),
        (wav(bytes(99), tag=0x999, bits=4), "not audio"),
        (wav(bytes(99), n_channels=0), "no sound that can be decoded"),
        (wav(bytes(99), rate=0), "not audio"),
        (wav(bytes(99), rate=2**31 - 1), "sampling rate"),
        (b"OggS" + bytes(60), "not audio"),
        (b"fLaC" + bytes(60), "not audio"),
        (b"ID3\4" + bytes(60), "not audio"),
        (b"\x1f\x8b\x08" + bytes(60), "packed with gzip: unpack it"),
        (b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n", "carries text"),
        (b"<!DOCTYPE html>\n<title>404 Not Found</title>\n", "carries text"),
        (b"%PDF-1.7\n" + bytes(60), "not audio|no sound"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "not audio|no sound"),
    ],
)
def test_pipes_that_cannot_be_used(data: bytes, message: str) -> None:
    with pytest.raises(vox.AudioError, match=message) as caught:
        list(read_pcm(io.BytesIO(data)))
    assert "\n" not in str(caught.value)


def test_samples_come_as_soon_as_they_arrive() -> None:
    source, sink = os.pipe()
    closing = threading.Timer(10, os.close, [sink])  # so that a failure does not hang
    closing.start()
    with os.fdopen(source, "rb") as pipe:
        blocks = read_pcm(pipe)
        for n in (100, 1, 50):
            os.write(sink, np.zeros(n, np.int16).tobytes())
            assert len(next(blocks)) == n
        assert closing.is_alive()  # the pipe is still open
        closing.cancel()
        os.close(sink)
        assert list(blocks) == []


def test_path_of_a_fifo(tmp_path: Path, clip: np.ndarray) -> None:
    """As in `voxtral transcribe <(command)`."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(wav(clip.tobytes(), size=0)))
    writer.start()
    assert np.concatenate(list(vox.read(path))).tolist() == expected_of(clip)
    writer.join()
