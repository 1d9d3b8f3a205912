"""A stream gives the same slots however the audio is cut, and stays as it is without end."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox


def cut(samples: np.ndarray, sizes: Iterable[int]) -> list[np.ndarray]:
    """Consecutive chunks of the sizes, the last one whatever is left."""
    starts = [0, *np.cumsum(list(sizes))]
    return [samples[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]


def run(stream: vox.Stream, chunks: Sequence[np.ndarray]) -> list[vox.Piece]:
    """Every slot of the chunks, drained after each of them."""
    slots = []
    for chunk in chunks:
        stream.push(chunk)
        slots += stream.slots()
    stream.end()
    return [*slots, *stream.slots()]


@pytest.fixture(scope="module")
def whole(tiny: vox.Model, noise: np.ndarray) -> list[vox.Piece]:
    with tiny.stream() as stream:
        return run(stream, [noise])


@pytest.mark.parametrize("size", [159, 160, 161, 1279, 1280, 1281, 16000])
def test_result_does_not_depend_on_the_cut(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece], size: int
) -> None:
    with tiny.stream() as stream:
        assert run(stream, cut(noise, [size] * (len(noise) // size))) == whole


@pytest.mark.parametrize("seed", range(5))
def test_result_does_not_depend_on_random_cuts(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece], seed: int
) -> None:
    sizes = np.random.default_rng(seed).integers(0, 4000, 20)  # some chunks are empty
    with tiny.stream() as stream:
        assert run(stream, cut(noise, sizes)) == whole


def test_sample_by_sample(tiny: vox.Model, noise: np.ndarray) -> None:
    short = noise[:10_000]  # just more than is needed for the first slot
    with tiny.stream() as stream:
        expected = run(stream, [short])
        stream.reset()
        assert run(stream, cut(short, [1] * len(short))) == expected


def test_words_do_not_depend_on_the_cut(
    demo: vox.Model, digits: np.ndarray, digits_words: str
) -> None:
    with demo.stream() as stream:
        for size in (len(digits), 4000, 1281):
            pieces = [
                p
                for chunk in cut(digits, [size] * (len(digits) // size))
                for p in stream.feed(chunk)
            ] + stream.finish()
            assert "".join(piece.text for piece in pieces).strip() == digits_words
            stream.reset()


@pytest.mark.parametrize("n", [0, 1, 39, 40, 1279, 1280, 1281])
def test_number_of_slots(tiny: vox.Model, noise: np.ndarray, n: int) -> None:
    with tiny.stream() as stream:
        slots = run(stream, [noise[:n]])
    assert len(slots) == -(-n // 1280) + 10
    assert [slot.start_ms for slot in slots] == [80 * k for k in range(len(slots))]
    assert all(slot.end_ms == slot.start_ms + 80 for slot in slots)
    assert all(0 <= slot.token < tiny.n_vocab for slot in slots)


def test_delays(tiny: vox.Model, noise: np.ndarray) -> None:
    """Each delay gives all slots, the first as soon as the delay is over, and its own tokens."""
    outputs = set()
    for delay_ms in vox.DELAYS_MS:
        first = 16 * (delay_ms + 80) + 40
        with tiny.stream(delay_ms=delay_ms) as stream:
            stream.push(noise[: first - 1])
            assert list(stream.slots()) == []
            stream.push(noise[first - 1 : first])
            assert len(list(stream.slots())) == 1
            stream.reset()
            slots = run(stream, [noise])
        assert len(slots) == 60
        outputs.add(tuple(slot.token for slot in slots))
    assert len(outputs) == len(vox.DELAYS_MS)


def test_default_delay_is_the_models(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece]
) -> None:
    with tiny.stream(delay_ms=tiny.default_delay_ms) as stream:
        assert run(stream, [noise]) == whole


def test_threads_do_not_change_the_result(
    tiny_path: Path, noise: np.ndarray, whole: list[vox.Piece]
) -> None:
    for threads in (1, 2, 3):
        with vox.Model(tiny_path, threads=threads) as model, model.stream() as stream:
            assert run(stream, [noise]) == whole


def test_feed_and_finish_are_push_end_and_slots(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece]
) -> None:
    with tiny.stream() as stream:
        fed = [stream.feed(noise[:30_000]), stream.feed(noise[30_000:]), stream.finish()]
    assert all(fed)
    assert [piece for part in fed for piece in part] == [slot for slot in whole if slot.text]


def test_finish_may_be_repeated(tiny: vox.Model, noise: np.ndarray) -> None:
    with tiny.stream() as stream:
        stream.feed(noise)
        assert stream.finish()
        assert stream.finish() == []
        assert list(stream.slots()) == []


@pytest.mark.parametrize("used", [0, 20_000, 64_000])
@pytest.mark.parametrize("ended", [False, True])
def test_reset_is_a_new_stream(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece], used: int, ended: bool
) -> None:
    with tiny.stream() as stream:
        stream.feed(noise[::-1][:used])
        if ended:
            stream.finish()
        stream.reset()
        assert stream.pending == 0
        assert run(stream, [noise]) == whole


def test_streams_are_independent(tiny: vox.Model, noise: np.ndarray) -> None:
    clips = [noise, noise[::-1]]
    with tiny.stream() as stream:
        alone = [stream.feed(clips[0]) + stream.finish()]
        stream.reset()
        alone.append(stream.feed(clips[1]) + stream.finish())
    with tiny.stream() as one, tiny.stream() as two:
        together: list[list[vox.Piece]] = [[], []]
        for start in range(0, len(noise), 3000):
            for stream, clip, pieces in zip((one, two), clips, together, strict=True):
                pieces += stream.feed(clip[start : start + 3000])
        together[0] += one.finish()
        together[1] += two.finish()
    assert together == alone
    assert alone[0] != alone[1]


def test_threads_with_their_own_streams(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece]
) -> None:
    results: dict[int, list[vox.Piece]] = {}

    def work(i: int) -> None:
        with tiny.stream() as stream:
            results[i] = run(stream, cut(noise, [1280] * 50))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(3), whole)


def test_streams_of_one_model_in_threads(tiny_path: Path, noise: np.ndarray) -> None:
    """Other delays, other audio, cut otherwise, all at once: each as if it were alone."""
    ways = [(80, noise, 700), (480, noise[::-1], 5000), (2400, noise, 1280), (480, noise, 64000)]

    def work(model: vox.Model, i: int) -> list[vox.Piece]:
        delay_ms, audio, size = ways[i]
        with model.stream(delay_ms=delay_ms) as stream:
            return run(stream, cut(audio, [size] * (len(audio) // size)))

    alone = []
    for i in range(len(ways)):
        with vox.Model(tiny_path) as model:
            alone.append(work(model, i))
    for _ in range(3):  # each time, the first pass of the model is fought for as well
        with vox.Model(tiny_path, threads=2) as model, ThreadPoolExecutor(len(ways)) as pool:
            assert list(pool.map(work, [model] * len(ways), range(len(ways)))) == alone


def test_second_thread_is_refused(tiny: vox.Model) -> None:
    audio = tiny_model.make_audio(60 * vox.RATE, seed=1)
    with tiny.stream() as stream:
        expected = stream.feed(audio) + stream.finish()
        stream.reset()
        pieces: list[vox.Piece] = []

        def work() -> None:
            while True:
                try:
                    pieces.extend(stream.feed(audio))
                    return
                except vox.StreamBusy:  # the main thread was faster; nothing was done
                    continue

        thread = threading.Thread(target=work)
        thread.start()
        with pytest.raises(vox.StreamBusy, match="another thread"):
            while True:
                assert stream.memory
        for call in (stream.finish, stream.reset, stream.close, lambda: stream.feed(audio)):
            with pytest.raises(vox.StreamBusy):
                call()
        thread.join()
        assert pieces + stream.finish() == expected


def test_pending_is_the_lag(tiny: vox.Model, noise: np.ndarray) -> None:
    with tiny.stream() as stream:
        assert stream.pending == 0
        stream.push(noise)
        assert stream.pending == len(noise)
        next(stream.slots())
        assert stream.pending == len(noise) - 1280 * 7 - 40  # a slot, the delay and the look-ahead
        list(stream.slots())
        assert stream.pending < 1280
        stream.end()
        list(stream.slots())
        assert stream.pending == 0


def test_stats_count_every_slot(tiny: vox.Model, noise: np.ndarray) -> None:
    with tiny.stream() as stream:
        for _ in range(2):
            n_slots = len(run(stream, [noise]))
            stats = stream.stats()
            assert stats.n_accepted == n_slots
            # The silence before the first sample is not the stream's own work.
            assert stats.n_prefill_slots + n_slots == stats.n_encoder_slots == 1 + 6 + n_slots
            assert stats.n_decoder_slots >= n_slots
            assert stats.n_agreed <= stats.n_drafted <= stats.n_decoder_slots
            assert 0 < stats.n_decoder_passes <= stats.n_decoder_slots
            assert min(stats.mel_ns, stats.encoder_ns, stats.prefill_ns, stats.decoder_ns) > 0
            assert stats.weight_bytes == tiny.n_bytes
            assert stats.state_bytes == stream.memory
            assert stats.scratch_bytes > 0
            stream.reset()
            assert stream.stats().n_accepted == stream.stats().encoder_ns == 0


def test_nothing_grows(tiny: vox.Model) -> None:
    """Five minutes are more than 60 windows of the decoder and 600 of the encoder."""
    audio = tiny_model.make_audio(10 * vox.RATE, seed=2)
    with tiny.stream() as stream:
        for n in range(1, 17):  # meet every width of a pass, and the longest push
            stream.feed(audio[: 1280 * n])
        stream.feed(audio)
        stream.feed(audio)
        memory = stream.memory
        assert 0 < memory < 64 * 2**20
        for _ in range(28):
            assert stream.feed(audio)
            assert stream.memory == memory
        stream.reset()
        assert stream.memory == memory


def test_text_is_that_of_pythons_decoder(tiny: vox.Model) -> None:
    """Characters are never torn: what an incomplete one lacks comes with a later token."""
    audio = tiny_model.make_audio(30 * vox.RATE, seed=4)
    for delay_ms in (80, 480, 2400):
        with tiny.stream(delay_ms=delay_ms) as stream:
            slots = run(stream, [audio])
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        expected = [
            decoder.decode(b"" if slot.token < tiny.n_special else tiny.token_bytes(slot.token))
            for slot in slots
        ]
        expected[-1] += decoder.decode(b"", final=True)
        assert [slot.text for slot in slots] == expected
        assert "\N{REPLACEMENT CHARACTER}" in "".join(expected)


# ---- embeddings for a decoder elsewhere ---------------------------------------------------------


def embeddings(stream: vox.Stream, chunks: Sequence[np.ndarray]) -> np.ndarray:
    rows = []
    for chunk in chunks:
        stream.push(chunk)
        rows += stream.embeddings()
    stream.end()
    return np.array([*rows, *stream.embeddings()])


@pytest.mark.parametrize("size", [1000, 1280, 50_000])
def test_embeddings_are_those_that_the_decoder_hears(
    tiny: vox.Model, noise: np.ndarray, size: int
) -> None:
    with tiny.stream() as stream:
        stream.watch("audio")
        stream.push(noise)
        stream.end()
        heard = [stream.tensor("audio") for _ in stream.slots()]
    with tiny.stream() as stream:
        rows = embeddings(stream, cut(noise, [size] * (len(noise) // size)))
        assert stream.pending == 0
    assert rows.shape == (32 + len(noise) // 1280 + 6 + 10, tiny.decoder_dim)
    np.testing.assert_array_equal(rows.reshape(-1), np.concatenate(heard))


def test_a_stream_gives_text_or_embeddings(
    tiny: vox.Model, noise: np.ndarray, whole: list[vox.Piece]
) -> None:
    with tiny.stream() as stream:
        stream.push(noise)
        next(stream.embeddings())
        with pytest.raises(vox.StreamError, match="gives embeddings: reset it to have text"):
            next(stream.slots())
        assert len(list(stream.embeddings())) > 50  # it goes on
        stream.reset()
        assert run(stream, [noise]) == whole
        stream.reset()
        stream.push(noise)
        next(stream.slots())
        with pytest.raises(vox.StreamError, match="gives text: reset it to have embeddings"):
            next(stream.embeddings())
        stream.end()
        assert [whole[0], *stream.slots()] == whole
