"""Files, pipes and video of all kinds: whole, joined, cut short, never closed, late, with gaps."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import media
import numpy as np
import pytest
import soundfile
import voxtral_edge as vox
from conftest import SAMPLES
from media import KINDS, Pipe
from voxtral_edge import audio
from voxtral_edge.audio import duration_s, read_pcm
from voxtral_edge.audio.containers import signatures
from voxtral_edge.audio.containers.clock import Clock
from voxtral_edge.audio.source import ByteSource

CLIP = SAMPLES / "digits_3.wav"
WORDS = "three zero four six"
DELAY = 1100  # most samples that a coder puts before its sound where the format cannot say so


def all_of(blocks: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def until_cut(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """All samples of what must break off."""
    parts = []
    with pytest.raises(vox.AudioTruncated, match=r"breaks off after \d+\.\d s: copy or record"):
        for block in blocks:
            parts.append(block)
    return all_of(parts)


def assert_same(got: np.ndarray, expected: np.ndarray, delay: int = DELAY) -> None:
    """The same sound at the same time, but for a delay and what coding takes away."""
    n = len(expected) - 2 * delay
    match = np.correlate(got[: len(expected)], expected[delay:-delay], "valid")
    at = int(np.argmax(match)) - delay
    assert 0 <= at <= delay
    part, wanted = got[delay + at : delay + at + n], expected[delay:-delay][: len(got) - delay - at]
    assert np.corrcoef(part, wanted[: len(part)])[0, 1] > 0.95


def skip_what_pyav_lacks(kind: str) -> None:
    if kind == "amr" and "libopencore_amrnb" not in av.codecs_available:
        pytest.skip("this PyAV makes no AMR")
    if kind == "w64" and av.__version__.startswith("17."):
        pytest.skip("this PyAV decodes no packet of 24 bits whose end is padded")


@pytest.fixture(scope="module")
def files(digits: np.ndarray) -> dict[str, bytes]:
    """The clip as every kind."""
    return {kind: media.of_kind(kind, digits) for kind in KINDS}


# ---- whole, and cut short -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_from_a_file_and_a_pipe(
    kind: str, files: dict[str, bytes], digits: np.ndarray, tmp_path: Path
) -> None:
    skip_what_pyav_lacks(kind)
    path = tmp_path / "misnamed.wav"
    path.write_bytes(files[kind])
    from_file = all_of(vox.read(path))
    assert abs(len(from_file) - len(digits)) < 2 * DELAY
    assert_same(from_file, digits)
    assert np.array_equal(all_of(vox.read(io.BytesIO(files[kind]))), from_file)
    if KINDS[kind][2]:
        from_pipe = all_of(read_pcm(Pipe(files[kind])))
        n = min(len(from_pipe), len(from_file))
        assert len(from_pipe) - n < 300  # an MP3's padding is told by its length
        assert np.abs(from_pipe[:n] - from_file[:n]).max() < 1e-3
    else:
        with pytest.raises(vox.AudioError, match="cannot be read from a pipe"):
            all_of(read_pcm(Pipe(files[kind] + bytes(100_000))))


@pytest.mark.parametrize("kind", ["avi", "flac", "flv", "m4a", "mka", "mp3", "webm"])
def test_tags_that_are_no_utf8(kind: str, files: dict[str, bytes]) -> None:
    """A title of old: here it is the name of the library that wrote the file."""
    data = files[kind].replace(b"Lavf", b"L\xe9vf", 1)
    assert data != files[kind]
    old, plain = (all_of(vox.read(io.BytesIO(each))) for each in (data, files[kind]))
    assert np.array_equal(old, plain)


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind != "m4a"), *media.BROKEN])
def test_what_breaks_off_gives_what_there_is(kind: str, digits: np.ndarray) -> None:
    """As much as FFmpeg has of it, and the line that says so, wherever the cut is."""
    skip_what_pyav_lacks(kind)
    data = media.broken(kind, digits)
    nearly = 0.9 if kind == "tta" else 0.997  # the last bytes of that are a tag
    for share in (1.0, nearly, 0.77, 0.501, 0.31):
        cut = data[: int(len(data) * share) | (share < 1)]
        if share < 1 and kind.endswith("flv") and media.flv_is_whole(cut):
            cut = cut[:-1]  # between two tags it is told by the duration, if at all
        for read, source in ((vox.read, io.BytesIO), (read_pcm, Pipe)):
            blocks = read(source(cut))
            samples = all_of(blocks) if share == 1 else until_cut(blocks)
            assert abs(len(samples) - media.RATE * media.decoded_s(source(cut))) < 2
            assert len(samples) > (share - 0.2) * len(digits)  # of 6 s, as coders take blocks


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_an_flv_that_lacks_its_last_bytes(n: int, files: dict[str, bytes]) -> None:
    for read, source in ((vox.read, io.BytesIO), (read_pcm, Pipe)):
        until_cut(read(source(files["flv"][:-n])))


@pytest.mark.parametrize(
    ("kind", "at", "size"),
    [
        ("aiff", 4, b"\x7f\xff\xff\xff"),
        ("aiff", 4, b"\x7f\0\0\x24"),
        ("au", 8, b"\xff\xff\xff\xff"),
        ("au", 8, b"\x7f\xff\xff\xff"),
        ("avi", 4, b"\0\0\0\0"),
        ("avi", 4, b"\xff\xff\xff\xff"),
        ("caf", b"data", b"\xff" * 8),
        ("flac", 21, bytes(5)),
    ],
)
def test_a_size_that_stands_for_none(
    kind: str, at: int | bytes, size: bytes, files: dict[str, bytes]
) -> None:
    """It goes on to the end, wherever that is."""
    start = at if isinstance(at, int) else files[kind].index(at) + len(at)
    data = bytearray(files[kind])
    if kind == "flac":
        size = bytes([data[21] & 0xF0, *size[1:]])
    data[start : start + len(size)] = size
    for cut in (data, data[: len(data) // 2 | 1]):
        for read, source in ((vox.read, io.BytesIO), (read_pcm, Pipe)):
            blocks = read(source(bytes(cut)))
            is_told = kind in ("avi", "flac") and cut is not data  # by what their units are
            got = until_cut(blocks) if is_told else all_of(blocks)
            assert abs(len(got) - media.RATE * media.decoded_s(source(bytes(cut)))) < 2


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("au", {8: bytes(4)}),
        ("aiff", {4: bytes(4)}),
        ("aiff", {4: bytes(4), b"SSND": bytes(4)}),
        ("aiff", {4: b"\0\0\0\x2e", b"SSND": b"\0\0\0\x08"}),
        ("w64", {16: bytes(8), b"data\xf3": bytes(8)}),
        ("w64", {16: b"\x68" + bytes(7), b"data\xf3": b"\x18" + bytes(7)}),
    ],
)
def test_files_that_were_never_closed(
    kind: str, sizes: dict[int | bytes, bytes], digits: np.ndarray, tmp_path: Path
) -> None:
    """Their headers are those of empty files; what is there is read."""
    data = bytearray(media.encode(digits, kind, "pcm_s16le" if kind == "w64" else "pcm_s16be"))
    if b"SSND" in sizes:
        sizes[data.index(b"COMM") + 10] = bytes(4)  # no frames
    for where, size in sizes.items():
        behind = 16 if where == b"data\xf3" else 4
        at = where if isinstance(where, int) else data.index(where) + behind
        data[at : at + len(size)] = size
    path = tmp_path / "recording"
    path.write_bytes(data)
    assert duration_s(path) is None
    for blocks in (vox.read(path), read_pcm(Pipe(bytes(data)))):
        samples = all_of(blocks)
        assert np.array_equal(samples[: len(digits)], digits)
        assert len(samples) - len(digits) < 16  # what fills a file up


@pytest.mark.parametrize("kind", ["aac", "mp2", "mp3", "ts", "mka", "flv", "m4a", "live webm"])
@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(3000), b"This is no sound. " * 9])
def test_what_follows_the_sound_is_no_cut(kind: str, tail: bytes, digits: np.ndarray) -> None:
    data = media.broken(kind, digits)
    sources = [vox.read(io.BytesIO(data + tail))]
    if kind != "m4a":
        sources.append(read_pcm(Pipe(data + tail)))
    for blocks in sources:
        assert abs(len(all_of(blocks)) - len(digits)) < 2 * DELAY


def test_an_index_that_is_lost(files: dict[str, bytes], digits: np.ndarray, tmp_path: Path) -> None:
    """Without it an MP4 is nothing; before the sound it comes through a pipe, and may be cut."""
    with pytest.raises(vox.AudioError, match="not audio that can be read"):
        all_of(vox.read(io.BytesIO(files["m4a"][: len(files["m4a"]) * 2 // 3])))
    begun = media.of_kind("m4a", digits, path=tmp_path / "x.m4a", options={"movflags": "faststart"})
    assert np.array_equal(all_of(read_pcm(Pipe(begun))), all_of(vox.read(io.BytesIO(begun))))
    assert len(until_cut(read_pcm(Pipe(begun[: len(begun) // 2])))) > len(digits) // 3
    parts = media.of_kind(
        "m4a", digits, seekable=False, options={"movflags": "frag_keyframe+empty_moov"}
    )
    assert_same(all_of(read_pcm(Pipe(parts))), digits)


def test_text_of_what_breaks_off(
    tmp_path: Path, demo: vox.Model, run_python: Callable[..., tuple[str, ...]]
) -> None:
    samples = all_of(vox.read(CLIP))
    path = tmp_path / "x.wav"
    path.write_bytes(CLIP.read_bytes()[:-4000])  # of silence
    with pytest.warns(vox.AudioTruncated, match=r"x\.wav breaks off after"):
        transcript = demo.transcribe(path)
    assert transcript.text == WORDS
    pieces = []
    with pytest.raises(vox.AudioTruncated):
        for piece in demo.pieces(path):
            pieces.append(piece)
    assert "".join(piece.text for piece in pieces).strip() == WORDS
    for command, data in (
        (("transcribe", path), b""),
        (("transcribe", path, "-o", tmp_path / "out.txt"), b""),
        (("transcribe", "-"), path.read_bytes()),
        (("stream", "-"), path.read_bytes()),
        (("stream", "-"), media.of_kind("aiff", samples)[:-4000]),
    ):
        done = subprocess.run(
            run_python("-m", "voxtral_edge", *command, "--quiet"),
            input=data, capture_output=True, timeout=60,
        )  # fmt: skip
        written = (tmp_path / "out.txt").read_text() if "-o" in command else done.stdout.decode()
        assert written == WORDS + "\n"
        assert done.returncode == 2
        (line,) = done.stderr.decode().splitlines()
        assert "breaks off after" in line


# ---- joined, and with headers that lie ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["aac", "flac", "mp2", "mp3", "ogg", "opus", "ts"])
def test_joined_files_are_read_to_the_end(
    kind: str, files: dict[str, bytes], digits: np.ndarray
) -> None:
    joined = files[kind] * 3
    for samples in (all_of(vox.read(io.BytesIO(joined))), all_of(read_pcm(Pipe(joined)))):
        assert abs(len(samples) - 3 * len(digits)) < 6 * DELAY
        part = len(samples) // 3
        for i in range(3):
            assert_same(samples[i * part : i * part + len(digits)], digits, 2 * DELAY)


def test_joined_files_of_several_rates(digits: np.ndarray) -> None:
    parts = [
        media.encode(media.at_rate(digits, rate), "mp3", "libmp3lame", rate=rate)
        for rate in (16_000, 44_100, 24_000)
    ]
    samples = all_of(vox.read(io.BytesIO(b"".join(parts))))
    assert abs(len(samples) - 3 * len(digits)) < 6 * DELAY
    assert len(media.onsets(samples)) == 3 * len(media.onsets(digits))


def test_chained_ogg_of_several_kinds(files: dict[str, bytes], digits: np.ndarray) -> None:
    """Other channels, rates and coders in every link, and what breaks off in the last of them."""
    links = [files["opus"], files["ogg"]]
    for n_channels, rate, subtype in ((2, 44_100, "VORBIS"), (1, 16_000, "VORBIS")):
        link, samples = io.BytesIO(), media.at_rate(digits, rate)
        soundfile.write(
            link, np.repeat(samples[:, None], n_channels, axis=1), rate,
            format="OGG", subtype=subtype,
        )  # fmt: skip
        links.append(link.getvalue())
    chain = b"".join(links)
    expected = [at + i * len(digits) / 16_000 for i in range(4) for at in media.onsets(digits)]
    for blocks in (vox.read(io.BytesIO(chain)), read_pcm(Pipe(chain))):
        assert media.onsets(all_of(blocks)) == pytest.approx(expected, abs=0.05)
    for blocks in (vox.read(io.BytesIO(chain[:-99])), read_pcm(Pipe(chain[:-99]))):
        assert len(until_cut(blocks)) > 3 * len(digits)
    junk = files["opus"] + bytes(1000) + files["opus"] + b"TAG" + bytes(125)
    for blocks in (vox.read(io.BytesIO(junk)), read_pcm(Pipe(junk))):
        assert abs(len(all_of(blocks)) - 2 * len(digits)) < DELAY


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 40])
def test_an_mp3_whose_count_of_frames_lies(
    factor: float, files: dict[str, bytes], digits: np.ndarray
) -> None:
    data = bytearray(files["mp3"])
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    count = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = int(count * factor).to_bytes(4, "big")
    for blocks in (vox.read(io.BytesIO(data)), read_pcm(Pipe(bytes(data)))):
        samples = all_of(blocks)
        assert abs(len(samples) - len(digits)) < 300
        assert media.onsets(samples) == pytest.approx(media.onsets(digits), abs=0.02)


def test_a_flac_of_unknown_length(digits: np.ndarray, tmp_path: Path) -> None:
    for n in (len(digits), 7 * 4096, 5000):
        data = bytearray(media.encode(digits[:n], "flac", "flac"))
        data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # the number of samples
        (tmp_path / "x.flac").write_bytes(data)
        assert audio.duration_s(tmp_path / "x.flac") is None
        for blocks in (vox.read(tmp_path / "x.flac"), read_pcm(Pipe(bytes(data)))):
            assert np.array_equal(all_of(blocks), digits[:n])
        if n == len(digits):
            until_cut(vox.read(io.BytesIO(data[: len(data) // 2])))


# ---- WAV ----------------------------------------------------------------------------------------

WIDTHS = {(8, 1): 1e-2, (16, 1): 1e-6, (24, 1): 1e-6, (32, 1): 1e-6, (32, 3): 1e-6, (64, 3): 1e-6}


def pcm(samples: np.ndarray, bits: int, tag: int, order: str) -> bytes:
    if tag == 3:
        return samples.astype(f"{order}f{bits // 8}").tobytes()
    whole = np.round(samples.astype(float) * 2.0 ** (bits - 1)).astype(np.int64)
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    if bits == 24:
        wide = whole.astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
        return wide[:, :3].tobytes() if order == "<" else wide[:, 1:].tobytes()
    return whole.astype(f"{order}i{bits // 8}").tobytes()


@pytest.mark.parametrize(("bits", "tag"), WIDTHS)
@pytest.mark.parametrize("n_channels", [1, 2, 6])
@pytest.mark.parametrize("order", ["<", ">"])
def test_wav_of_every_width(
    bits: int, tag: int, n_channels: int, order: str, digits: np.ndarray
) -> None:
    """Whole, never closed, with the sizes that stand for none, with chunks after it, and cut."""
    part = digits[5000:25_001]
    data = pcm(np.repeat(part, n_channels), bits, tag, order)
    frame = n_channels * bits // 8
    whole = media.wav(data, bits=bits, n_channels=n_channels, tag=tag, order=order)
    wavs = [whole, whole + b"LIST\4\0\0\0abcd", b"ID3\3\0\0\0\0\0\x14" + bytes(20) + whole]
    for size in (0, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 37, 0x7FFFF000 // frame * frame):
        wavs.append(
            media.wav(data, bits=bits, n_channels=n_channels, tag=tag, order=order, size=size)
        )
    if order == "<":
        for long_size in (0, len(data)):
            wavs.append(
                media.wav(data, bits=bits, n_channels=n_channels, tag=tag, long_size=long_size)
            )
    for each in wavs:
        for blocks in (vox.read(io.BytesIO(each)), read_pcm(Pipe(each, 777))):
            samples = all_of(blocks)
            assert len(samples) == len(part)
            assert np.abs(samples - part).max() < WIDTHS[bits, tag]
    for blocks in (vox.read(io.BytesIO(whole[:-frame])), read_pcm(Pipe(whole[:-frame]))):
        assert len(until_cut(blocks)) == len(part) - 1


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw", "adpcm_ima_wav", "adpcm_ms", "gsm_ms"])
def test_coded_wav_that_was_never_closed(codec: str, digits: np.ndarray) -> None:
    rate = 8000 if codec == "gsm_ms" else media.RATE
    if codec == "gsm_ms":
        codec = "pcm_mulaw"  # what telephones record
    data = media.encode(media.at_rate(digits, rate), "wav", codec, rate=rate)
    at = data.index(b"data") + 4
    expected = all_of(vox.read(io.BytesIO(data)))
    assert_same(expected, digits)
    for size in (0, 2**32 - 1, 0x7FFFF000):
        lying = data[:at] + size.to_bytes(4, "little") + data[at + 4 :]
        for blocks in (vox.read(io.BytesIO(lying)), read_pcm(Pipe(lying))):
            assert np.array_equal(all_of(blocks), expected)
    until_cut(vox.read(io.BytesIO(data[: len(data) // 2])))


# ---- times --------------------------------------------------------------------------------------

FILMS = [("matroska", "aac"), ("mp4", "aac"), ("webm", "libopus"), ("mpegts", "aac"),
         ("mov", "aac"), ("flv", "aac")]  # fmt: skip


@pytest.mark.parametrize(("format", "codec"), FILMS)
@pytest.mark.parametrize("late_s", [0.0, 2.0])
@pytest.mark.parametrize("gap", [(0.0, 0.0), (3.0, 1.5), (3.0, 12.0)])
def test_sound_is_where_the_picture_has_it(
    format: str, codec: str, late_s: float, gap: tuple[float, float], digits: np.ndarray
) -> None:
    if format == "mpegts" and gap[1] > 10:
        pytest.skip("there such a jump means that the stamps begin anew")
    rate = {"libopus": 48_000}.get(codec, 44_100 if format == "flv" else media.RATE)
    film = media.encode(
        media.at_rate(digits, rate), format, codec,
        rate=rate, late_s=late_s, gap=gap, film_s=late_s + gap[1] + 7,
    )  # fmt: skip
    expected = [at + late_s + (gap[1] if at > gap[0] else 0.0) for at in media.onsets(digits)]
    sources: list[Iterable[np.ndarray]] = [vox.read(io.BytesIO(film))]
    if format not in ("mp4", "mov"):
        sources.append(read_pcm(Pipe(film)))
    for blocks in sources:
        assert media.onsets(all_of(blocks)) == pytest.approx(expected, abs=0.09)


@pytest.mark.parametrize(("format", "codec"), FILMS)
@pytest.mark.parametrize(("film_s", "pictures"), [(30, 5), (2, 5), (60, 0.1)])
def test_films_that_are_longer_or_shorter_than_their_sound(
    format: str, codec: str, film_s: float, pictures: float, digits: np.ndarray
) -> None:
    rate = {"libopus": 48_000}.get(codec, 44_100 if format == "flv" else media.RATE)
    film = media.encode(
        media.at_rate(digits, rate), format, codec,
        rate=rate, film_s=film_s, pictures=Fraction(pictures).limit_denominator(10),
    )  # fmt: skip
    assert abs(len(all_of(vox.read(io.BytesIO(film)))) - len(digits)) < 2 * DELAY


@pytest.mark.parametrize(
    ("format", "codec", "rate"), [("flv", "mp3", 44_100), ("mpegts", "mp2", media.RATE)]
)
def test_a_picture_that_comes_late(format: str, codec: str, rate: int, digits: np.ndarray) -> None:
    """A track that a pipe did not announce is passed over; the sound goes on."""
    sound = media.at_rate(np.tile(digits, 10), rate)
    first = media.encode(sound, format, codec, rate=rate)
    film = media.encode(media.at_rate(digits, rate), format, codec, rate=rate, film_s=7)
    if format == "flv":
        film = film[13:]  # its sound is the same track; that of the other one is the second
    n = len(all_of(read_pcm(Pipe(first + film))))
    assert abs(n - len(digits) * (11 if format == "flv" else 10)) < 2 * DELAY


def test_a_caf_of_unknown_length(digits: np.ndarray) -> None:
    data = media.encode(digits, "caf", "pcm_s16be")
    at = data.index(b"data") + 4
    lying = data[:at] + b"\xff" * 8 + data[at + 8 : at + 12 + 2 * len(digits)]
    for blocks in (vox.read(io.BytesIO(lying)), read_pcm(Pipe(lying))):
        assert np.array_equal(all_of(blocks), digits)


@pytest.mark.parametrize("first_s", [0.0, 100.0])
def test_sound_without_a_picture_begins_with_it(first_s: float, digits: np.ndarray) -> None:
    sound = media.encode(digits, "mpegts", "mp2", late_s=first_s)
    assert media.onsets(all_of(vox.read(io.BytesIO(sound)))) == pytest.approx(
        media.onsets(digits), abs=0.05
    )


def test_clock() -> None:
    """Jitter is no gap, and does not add up; slow clocks are followed; joined files go on."""
    random = np.random.default_rng(0)
    clock = Clock(begins_anew=False)
    gaps = [clock.gap_s(0.02 * i + random.uniform(-0.04, 0.04), 0.02) for i in range(5000)]
    assert sum(gaps) == 0
    assert clock.at_s == pytest.approx(100)
    slow = [clock.gap_s(100 + 0.0201 * i, 0.02) for i in range(5000)]
    assert sum(slow) == pytest.approx(0.5, abs=0.11)
    assert clock.gap_s(None, 1.0) == 0
    at_s = clock.at_s
    assert clock.gap_s(0.0, 1.0) == 0  # another file
    assert clock.gap_s(3.0, 1.0) == pytest.approx(2.0)
    assert clock.at_s == pytest.approx(at_s + 4.0)
    assert clock.gap_s(1e6, 1.0) == 0  # nobody means that
    assert clock.gap_s(1e6 + 1.0, 1.0) == 0
    anew = Clock(begins_anew=True)
    assert anew.gap_s(60.0, 1.0) == 60.0
    assert anew.gap_s(70.0, 1.0) == pytest.approx(9.0)
    assert anew.gap_s(90.0, 1.0) == 0


# ---- pipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["aac", "aiff", "mp3", "opus", "ts", "webm"])
def test_sound_comes_while_the_pipe_is_open(kind: str, digits: np.ndarray) -> None:
    """Not much is taken before the first of it, nor later before what belongs to it."""
    samples = np.tile(digits, 5)
    data = media.of_kind(kind, samples)
    pipe, n = Pipe(data, 300), 0
    for block in read_pcm(pipe):
        taken_s = pipe.tell() / len(data) * len(samples) / media.RATE
        assert taken_s - n / media.RATE < 2 or pipe.tell() == len(data)
        n += len(block)
    assert n >= len(samples)


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_pipe_that_does_not_block(buffering: int, files: dict[str, bytes]) -> None:
    """A program that shares the pipe may have set it so; what has not come yet is no end."""
    clip = CLIP.read_bytes()
    for data in (clip, clip[44:], files["mp3"]):
        expected = all_of(read_pcm(io.BytesIO(data)))
        source, sink = os.pipe()
        os.set_blocking(source, False)

        def feed(sink: int = sink, data: bytes = data) -> None:
            for at in range(0, len(data), 3001):
                time.sleep(0.005)
                os.write(sink, data[at : at + 3001])
            os.close(sink)

        thread = threading.Thread(target=feed)
        thread.start()
        with os.fdopen(source, "rb", buffering=buffering) as pipe:
            got = all_of(read_pcm(pipe))
        thread.join()
        assert len(got) >= len(expected)
        assert np.abs(got[: len(expected)] - expected).max() < 1e-3


def test_ctrl_c_while_a_library_reads(files: dict[str, bytes]) -> None:
    class Interrupted(Pipe):
        def read(self, n: int = -1) -> bytes:
            data = super().read(n)
            if self.tell() > len(files["mp3"]) // 2:
                signal.raise_signal(signal.SIGINT)
            return data

    n = 0
    with pytest.raises(KeyboardInterrupt):
        for block in read_pcm(Interrupted(files["mp3"])):
            n += len(block)
    assert n > media.RATE


def test_standard_input_may_be_a_file(
    files: dict[str, bytes], tmp_path: Path, digits_words: str,
    run_python: Callable[..., tuple[str, ...]],
) -> None:  # fmt: skip
    """Then it can be gone back in; it is read from where it stands."""
    (tmp_path / "x").write_bytes(b"a line\n" + files["m4a"])
    for command in ("stream", "transcribe"):
        with (tmp_path / "x").open("rb", buffering=0) as file:
            os.read(file.fileno(), 7)
            done = subprocess.run(
                run_python("-m", "voxtral_edge", command, "--quiet", "-"),
                stdin=file, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, digits_words + "\n", "")


def test_signatures_are_told_by_what_is_looked_at() -> None:
    """One that is longer than the bytes before it would never be found."""
    for first in (b"Creative Voice File\x1a", b"SQLite format 3\0", b"\x02#!SILK_V3", b"FWS\5"):
        assert not signatures.is_raw(ByteSource(Pipe(first + bytes(1000)), "x"))  # type: ignore[arg-type]


# ---- file objects -------------------------------------------------------------------------------


class Bare:
    """A file object that can seek and does not say so, as some of Python 3.10 do."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell


@pytest.mark.parametrize("kind", ["wav", "mp3", "m4a"])
def test_file_objects(kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    data = CLIP.read_bytes() if kind == "wav" else files[kind]
    expected = all_of(vox.read(io.BytesIO(data)))
    path = tmp_path / "x"
    path.write_bytes(data)
    written = io.BytesIO()
    written.write(data)  # and not rewound
    with (
        tempfile.SpooledTemporaryFile() as spooled, path.open("rb") as buffered,
        path.open("rb", buffering=0) as plain,
    ):  # fmt: skip
        spooled.write(data)
        for file in (Bare(data), spooled, buffered, plain, written):
            assert np.array_equal(all_of(vox.read(file)), expected)  # type: ignore[arg-type]
    with path.open(encoding="latin-1") as text, pytest.raises(vox.AudioError, match="gives str"):
        all_of(vox.read(text))  # type: ignore[arg-type]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n",
        "ffconcat version 1.0\nfile 'film.mkv'\n",
        '<?xml version="1.0"?>\n<!-- live -->\n<MPD type="dynamic"></MPD>\n',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    ],
    ids=["hls", "concat", "dash", "sdp"],
)
def test_playlists_are_refused(tmp_path: Path, text: str) -> None:
    """They name other files, which might be anything and anywhere."""
    playlist = tmp_path / "list.wav"
    playlist.write_text(text)
    assert audio.duration_s(playlist) is None
    with pytest.raises(vox.AudioError, match="is a playlist, a list of other files: name those"):
        all_of(vox.read(playlist))


def test_lists_in_disguise_open_nothing(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "film.ts").write_bytes(files["ts"])
    disguised = tmp_path / "list.wav"
    disguised.write_text(
        f"\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path / 'film.ts'}\n"
        "#EXT-X-ENDLIST\n"
    )
    with pytest.raises(vox.AudioError):
        all_of(vox.read(disguised))


def test_films_without_sound_and_packed_files(tmp_path: Path, files: dict[str, bytes]) -> None:
    import bz2
    import gzip
    import lzma

    silent = media.encode(np.zeros(media.RATE, np.float32), "matroska", "aac", film_s=1)
    silent = silent.replace(b"A_AAC", b"A_XYZ")
    with pytest.raises(vox.AudioError, match=r"not audio that can be read \(its sound is of an"):
        all_of(vox.read(io.BytesIO(silent)))
    for packed, kind in (
        (gzip.compress(files["mp3"]), "gzip"),
        (bz2.compress(files["mp3"]), "bzip2"),
        (lzma.compress(files["mp3"]), "xz"),
    ):
        for blocks in (vox.read(io.BytesIO(packed)), read_pcm(Pipe(packed))):
            with pytest.raises(vox.AudioError, match=f"is packed with {kind}: unpack it first"):
                all_of(blocks)


# ---- costs --------------------------------------------------------------------------------------


def test_long_files_take_little_memory(digits: np.ndarray, tmp_path: Path) -> None:
    """An hour, decoded in another process whose peak is compared with that of a minute."""
    code = (
        "import resource, sys, voxtral_edge as vox\n"
        "n = sum(len(block) for block in vox.read(sys.argv[1]))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = {}
    for minutes in (1, 60):
        path = tmp_path / f"{minutes}.mp3"
        minute = media.of_kind("mp3", np.resize(digits, 60 * media.RATE))
        path.write_bytes(minute * minutes)
        out = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        ).stdout
        n, peaks[minutes] = map(int, out.split())
        assert n >= minutes * 60 * media.RATE
    assert peaks[60] < peaks[1] + 20_000  # KiB


def test_import_does_not_load_what_may_not_be_needed(
    run_python: Callable[..., tuple[str, ...]],
) -> None:
    code = (
        "import sys, voxtral_edge as vox\n"
        f"n = sum(map(len, vox.read({str(CLIP)!r})))\n"
        "assert n and not {'av', 'sounddevice'} & set(sys.modules)"
    )
    subprocess.run(run_python("-c", code), check=True, timeout=60)


def test_no_program_is_needed_and_nothing_is_said(
    files: dict[str, bytes], tmp_path: Path, digits_words: str,
    run_python: Callable[..., tuple[str, ...]],
) -> None:  # fmt: skip
    """Not even by a library: with what is damaged in it, a file is a file."""
    damaged = bytearray(files["mp3"])
    damaged[9000:9004] = b"abcd"
    for kind, data in (("m4a", files["m4a"]), ("mp3", bytes(damaged))):
        (tmp_path / f"x.{kind}").write_bytes(data)
        done = subprocess.run(
            run_python("-m", "voxtral_edge", "transcribe", "--quiet", tmp_path / f"x.{kind}"),
            env={"PATH": "/nowhere"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, digits_words + "\n", "")
