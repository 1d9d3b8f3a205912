"""Mistral's dialect, by its own client, unmodified."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, run, serving

models = pytest.importorskip("mistralai.client.models", reason="mistralai is not installed")
realtime = pytest.importorskip("mistralai.extra.realtime")
client = pytest.importorskip("mistralai.client")
mistral_errors = pytest.importorskip("mistralai.client.errors")

DIGITS = Path(__file__).parents[1] / "samples" / "digits_1.wav"


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY) as running:
        yield running


def transcription(server: Serving) -> Any:
    mistral = client.Mistral(api_key="none", server_url=server.url)
    return realtime.RealtimeTranscription(mistral.sdk_configuration)


def sent(path: Path, **options: Any) -> dict[str, Any]:
    """What the client sends of a file."""
    file = {"file_name": path.name, "content": path.read_bytes()}
    return {"model": "voxtral-mini-latest", "file": file, **options}


async def chunks(data: bytes, n: int = 6400) -> AsyncIterator[bytes]:
    for start in range(0, len(data), n):
        yield data[start : start + n]


def test_stream(server: Serving, demo: vox.Model, digits: np.ndarray, digits_words: str) -> None:
    whole = demo.transcribe(digits)

    async def main() -> list[Any]:
        events = transcription(server).transcribe_stream(
            chunks(pcm(digits)), "voxtral-mini-transcribe-realtime-2602", language="en"
        )
        return [event async for event in events]

    events = run(main())
    kinds = [event.type if hasattr(event, "type") else event.TYPE for event in events]
    assert not any(isinstance(event, realtime.UnknownRealtimeEvent) for event in events), events
    assert kinds[:2] == ["session.created", "session.updated"]
    said = [e.text for e in events if e.type == "transcription.text.delta"]
    segments = [e for e in events if e.type == "transcription.segment"]
    assert "".join(said) == digits_words
    assert [(s.text, s.start, s.end) for s in segments] == [
        (s.text, s.start_ms / 1000, s.end_ms / 1000) for s in whole.segments
    ]
    (language,) = [e for e in events if e.type == "transcription.language"]
    assert language.audio_language == "en"
    done = events[-1]
    assert (done.type, done.text) == ("transcription.done", digits_words)
    assert [s.text for s in done.segments] == [s.text for s in whole.segments]
    assert done.usage.prompt_tokens == len(whole.tokens)


def test_settings(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """Encoding, rate and delay; all are fixed by the first audio, and a flush tells all words."""

    async def main() -> None:
        connection = await transcription(server).connect(
            "any",
            audio_format=models.AudioFormat(encoding="pcm_f32le", sample_rate=48_000),
            target_streaming_delay_ms=1000,
        )
        async with connection:
            events = connection.events()

            async def until(kind: str) -> Any:
                async for event in events:
                    if event.type == kind:
                        return event
                raise AssertionError(kind)

            await until("session.updated")
            assert connection.session.target_streaming_delay_ms == 1040
            assert connection.audio_format.sample_rate == 48_000
            wide = np.repeat(digits, 3).astype("<f4").tobytes()
            for _ in range(2):
                async for chunk in chunks(wide, 200_000):
                    await connection.send_audio(chunk)
                await connection.flush_audio()
                assert (await until("transcription.segment")).text == digits_words
            await connection.update_session(target_streaming_delay_ms=80)
            assert "first audio" in (await until("error")).error.message
            await connection.end_audio()
            done = await until("transcription.done")
            assert done.text == f"{digits_words} {digits_words}"
            assert done.segments[1].start > len(digits) / vox.RATE

    run(main())


def test_turns(server: Serving, digits: np.ndarray) -> None:
    async def main() -> list[Any]:
        pause = np.zeros(2 * vox.RATE, np.float32)
        audio = pcm(np.concatenate([digits, pause, digits, pause]))
        events = transcription(server).transcribe_stream(
            chunks(audio), "any", turn_detection={"min_silence_ms": 1200}
        )
        return [event async for event in events if event.type.startswith("turn.")]

    turns = run(main())
    assert [turn.type for turn in turns] == ["turn.start", "turn.end"] * 2
    times = [turn.time_s for turn in turns]
    assert times == sorted(times)
    assert 5.4 < times[1] < 6.3 < 7.9 < times[2]


def test_errors(server: Serving) -> None:
    async def main() -> None:
        async with await transcription(server).connect("any") as connection:
            events = connection.events()

            async def refused(reason: str) -> None:
                async for event in events:
                    if event.type == "error":
                        assert reason in event.error.message
                        assert event.error.code == 400
                        return

            bad = models.AudioFormat(encoding="pcm_s16le", sample_rate=3)
            await connection.update_session(bad)
            await refused("3 Hz")
            await connection.update_session(diarize=True)
            await refused("no speakers")
            await connection.send_audio(b"")
            await refused("base64")
            await connection.send_audio(bytes(300_000))
            await refused("262144")

    run(main())


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", [None, "segment", "word"])
def test_file(server: Serving, demo: vox.Model, digits_words: str, granularity: str | None) -> None:
    whole = demo.transcribe(DIGITS)
    options = {"timestamp_granularities": [granularity]} if granularity else {}
    with client.Mistral(api_key="none", server_url=server.url) as mistral:
        answer = mistral.audio.transcriptions.complete(**sent(DIGITS, **options))
        with mistral.audio.transcriptions.stream(**sent(DIGITS, **options)) as stream:
            events = list(stream)
    assert (answer.text, answer.model, answer.language) == (
        digits_words,
        "voxtral-mini-latest",
        None,
    )
    assert answer.usage.prompt_tokens == len(whole.tokens)
    parts = {None: [], "segment": whole.segments, "word": whole.words}[granularity]
    times = [(part.text, part.start_ms / 1000, part.end_ms / 1000) for part in parts]
    assert [(part.text, part.start, part.end) for part in answer.segments or []] == times
    assert not any(event.data.type == "UNKNOWN" for event in events)
    assert all(event.event == event.data.type for event in events)
    said = [event.data for event in events]
    assert "".join(e.text for e in said if e.type == "transcription.text.delta") == digits_words
    told = [(e.text, e.start, e.end) for e in said if e.type == "transcription.segment"]
    assert told == times
    assert (said[-1].type, said[-1].text) == ("transcription.done", digits_words)
    assert said[-1].usage == answer.usage


def test_file_language(server: Serving) -> None:
    with client.Mistral(api_key="none", server_url=server.url) as mistral:
        answer = mistral.audio.transcriptions.complete(**sent(DIGITS, language="en"))
        with mistral.audio.transcriptions.stream(**sent(DIGITS, language="en")) as stream:
            first = next(iter(stream)).data
    assert answer.language == "en"
    assert (first.type, first.audio_language) == ("transcription.language", "en")


def test_file_refused(server: Serving) -> None:
    with (
        client.Mistral(api_key="none", server_url=server.url) as mistral,
        pytest.raises(mistral_errors.SDKError, match="knows no speakers"),
    ):
        mistral.audio.transcriptions.complete(**sent(DIGITS, diarize=True))
