"""Wyoming, by its own client: a file, Home Assistant's way, partial transcripts, bad frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, run, serving
from voxtral_edge.serve.dialects import wyoming as dialect
from voxtral_edge.serve.sessions.engine import Limits

pytest.importorskip("wyoming")

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

CHUNK = 1024  # samples, as Home Assistant sends


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, wyoming="tcp://127.0.0.1:0", limits=ROOMY) as running:
        yield running


def client(server: Serving) -> Any:
    assert server.server.wyoming is not None
    return AsyncTcpClient("127.0.0.1", server.server.wyoming.port, read_timeout=20)


async def say(
    to: Any, audio: np.ndarray, *, rate: int = 16_000, pause_s: float = 0.0, channels: int = 1
) -> None:
    await to.write_event(AudioStart(rate=rate, width=2, channels=channels).event())
    data = pcm(audio)
    for start in range(0, len(data), 2 * CHUNK):
        chunk = AudioChunk(rate=rate, width=2, channels=channels, audio=data[start:][: 2 * CHUNK])
        await to.write_event(chunk.event())
        if pause_s:
            await asyncio.sleep(pause_s)


async def answer(to: Any) -> tuple[str, str | None, list[str]]:
    """The transcript, its language, and the kinds of events that came up to its end."""
    said, kinds, text, language = "", [], "", None
    while not kinds or kinds[-1] != "transcript-stop":
        event = await to.read_event()
        assert event is not None
        kinds.append(event.type)
        if TranscriptStart.is_type(event.type):
            language = TranscriptStart.from_event(event).language
        elif TranscriptChunk.is_type(event.type):
            said += TranscriptChunk.from_event(event).text
        elif Transcript.is_type(event.type):
            text = Transcript.from_event(event).text
            assert Transcript.from_event(event).language == language
        else:
            assert TranscriptStop.is_type(event.type)
    assert said == text
    return text, language, kinds


def test_describe(server: Serving, demo: vox.Model) -> None:
    async def main() -> Info:
        async with client(server) as to:
            await to.write_event(Describe().event())
            info = Info.from_event(await to.read_event())
            await to.write_event(Ping(text="x").event())
            assert Pong.from_event(await to.read_event()).text == "x"
            return info

    (program,) = run(main()).asr
    assert (program.installed, program.supports_transcript_streaming) == (True, True)
    assert not program.requires_external_vad
    assert [(m.name, m.languages, m.installed) for m in program.models] == [
        (demo.name, ["en"], True)
    ]


def test_file(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """Sent at once, with pauses in it; a connection serves several, at other rates as well."""

    async def main() -> None:
        pause = np.zeros(2 * vox.RATE, np.float32)
        audio = np.concatenate([digits, pause, digits])
        async with client(server) as to:
            await to.write_event(Transcribe(language="en").event())
            await say(to, audio)
            await to.write_event(AudioStop().event())
            text, language, kinds = await answer(to)
            assert (text, language) == (f"{digits_words} {digits_words}", "en")
            assert (kinds[0], kinds[-2]) == ("transcript-start", "transcript")
            assert kinds.count("transcript-chunk") > 2
            stereo = np.repeat(np.repeat(digits, 2), 2)  # 32 kHz, of two channels
            await say(to, stereo, rate=32_000, channels=2)
            await to.write_event(AudioStop().event())
            assert (await answer(to))[0] == digits_words
            await say(to, np.zeros(8000, np.float32))
            await to.write_event(AudioStop().event())
            assert (await answer(to))[0] == ""

    run(main())


def test_home_assistant(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """It sends while it reads, goes on with silence, and takes the first transcript."""

    async def main(sensitivity: str | None) -> float:
        async with client(server) as to:
            await to.write_event(Transcribe(language="en", vad_sensitivity=sensitivity).event())
            audio = np.concatenate([digits, np.zeros(20 * vox.RATE, np.float32)])
            sending = asyncio.create_task(say(to, audio, pause_s=CHUNK / vox.RATE))
            began = asyncio.get_running_loop().time()
            text, _, _ = await answer(to)
            taken = asyncio.get_running_loop().time() - began
            sending.cancel()
            assert digits_words.startswith(text)
            assert text
            return taken

    async def both() -> list[float]:
        return await asyncio.gather(main("relaxed"), main("aggressive"))

    relaxed_s, aggressive_s = run(both())
    silent_s = 1.25 + 0.48  # in slots, which come with the delay
    assert aggressive_s < relaxed_s < len(digits) / vox.RATE + silent_s + 1.5


def test_a_client_that_stops_sending(
    server: Serving, digits: np.ndarray, digits_words: str
) -> None:
    """At once, without audio-stop: the turn is over when nothing more comes."""

    async def main() -> None:
        async with client(server) as to:
            await say(to, np.concatenate([digits, np.zeros(2 * vox.RATE, np.float32)]))
            assert (await answer(to))[0] == digits_words

    run(main())


def test_nobody_speaks(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "NOBODY_S", 1.0)

    async def main() -> None:
        async with client(server) as to:
            sending = asyncio.create_task(
                say(to, np.zeros(4 * vox.RATE, np.float32), pause_s=CHUNK / vox.RATE)
            )
            assert (await answer(to))[0] == ""
            sending.cancel()

    run(main())


def test_refused_at_the_door(demo: vox.Model, digits: np.ndarray) -> None:
    async def main(server: Serving) -> None:
        async with client(server) as to, client(server) as other:
            await say(to, digits[:8000])
            await other.write_event(Describe().event())  # which takes no place
            assert (await other.read_event()).type == "info"
            while not server.server._engine.n_live:
                await asyncio.sleep(0.01)
            await other.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            error = Error.from_event(await other.read_event())
            assert error.code == "server_busy"
            await to.write_event(AudioStop().event())
            await answer(to)
            await other.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            await other.write_event(AudioStop().event())
            await answer(other)

    limits = Limits(max_streams=1)
    with serving(demo, wyoming="tcp://127.0.0.1:0", limits=limits) as server:
        run(main(server))


@pytest.mark.parametrize(
    "frame",
    [
        b"no json\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 3}\n',
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "audio-chunk", "payload_length": -1}\n',
        b'{"type": "audio-chunk", "data_length": "x"}\n',
        b'{"type": "audio-start", "data_length": 3}\nabc',
        b"x" * 100_000,
        b"[" * 60_000 + b"\n",
    ],
)
def test_frames_that_cannot_be_read(server: Serving, frame: bytes) -> None:
    """An error, and the end of this connection, since the next frame cannot be found."""

    async def main() -> None:
        async with client(server) as to:
            to._writer.write(frame)
            assert (await to.read_event()).type == "error"
            assert await to.read_event() is None

    run(main())


@pytest.mark.parametrize(
    "event",
    [
        Event("audio-start", {"rate": 16_000}),
        Event("audio-start", {"rate": 1, "width": 2, "channels": 1}),
        Event("audio-start", {"rate": 16_000, "width": 7, "channels": 1}),
        Event("audio-start", {"rate": "fast", "width": 2, "channels": 1}),
        Event("audio-chunk", {"width": 2, "channels": 1}, b"x"),
    ],
)
def test_events_that_cannot_be_used(
    server: Serving, event: Event, digits: np.ndarray, digits_words: str
) -> None:
    """An error, and the connection goes on."""

    async def main() -> None:
        async with client(server) as to:
            await to.write_event(event)
            assert (await to.read_event()).type == "error"
            await say(to, digits)
            await to.write_event(AudioStop().event())
            assert (await answer(to))[0] == digits_words

    run(main())


def test_unknown_events_are_passed_over(server: Serving) -> None:
    async def main() -> None:
        async with client(server) as to:
            to._writer.write(json.dumps({"type": "select-program", "data": {}}).encode() + b"\n")
            await to.write_event(Ping().event())
            assert (await to.read_event()).type == "pong"

    run(main())


def test_what_is_there_ends_when_the_server_does(
    demo: vox.Model, digits: np.ndarray, digits_words: str
) -> None:
    async def main(server: Serving) -> None:
        async with client(server) as to:
            await say(to, digits)
            while not server.n_sessions:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            server.call(server.server.stop)
            assert (await answer(to))[0] == digits_words
            assert await to.read_event() is None

    with serving(demo, wyoming="tcp://127.0.0.1:0") as server:
        run(main(server))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "http://127.0.0.1:1", "tcp://x:y", "on"])
def test_address(demo: vox.Model, address: str) -> None:
    with pytest.raises(vox.ArgumentError, match="is no address"), serving(demo, wyoming=address):
        pass


def test_there_are_no_tokens(demo: vox.Model) -> None:
    address = "tcp://0.0.0.0:0"
    with pytest.raises(vox.ArgumentError, match="no tokens"), serving(demo, wyoming=address):
        pass
