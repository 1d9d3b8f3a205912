"""WS /v1/realtime: vLLM's dialect with its example client's messages, OpenAI's with its client."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import tiny_model
import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, run, serving
from voxtral_edge.convert import convert
from voxtral_edge.serve.dialects import sockets
from voxtral_edge.serve.sessions.engine import Limits

openai = pytest.importorskip("openai")
websockets = pytest.importorskip("websockets")
client = pytest.importorskip("websockets.asyncio.client")
connect = client.connect

SILENCE = np.zeros(2 * vox.RATE, np.float32)
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY) as running:
        yield running


def url(server: Serving, query: str = "") -> str:
    return f"ws://{server.address}/v1/realtime{query}"


async def send(socket: Any, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def append(socket: Any, audio: bytes) -> None:
    await send(socket, "input_audio_buffer.append", audio=base64.b64encode(audio).decode())


async def receive(socket: Any) -> dict[str, Any]:
    return dict(json.loads(await asyncio.wait_for(socket.recv(), 20)))


async def until(socket: Any, kind: str) -> list[dict[str, Any]]:
    """Messages up to the first of a kind."""
    messages = [await receive(socket)]
    while messages[-1]["type"] != kind:
        messages.append(await receive(socket))
    return messages


async def whole(socket: Any, audio: bytes, n: int) -> str:
    """The text of audio that is sent in parts of n bytes, as fast as they are taken (vLLM)."""
    await receive(socket)
    await send(socket, "session.update", model="any")
    for start in range(0, len(audio), n):
        await append(socket, audio[start : start + n])
    await send(socket, "input_audio_buffer.commit", final=True)
    return str((await until(socket, "transcription.done"))[-1]["text"])


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


# ---- vLLM ---------------------------------------------------------------------------------------


def test_vllm(server: Serving, demo: vox.Model, digits: np.ndarray, digits_words: str) -> None:
    """As its example client: session.update, commit, chunks of 4096 bytes, the final commit."""

    async def main() -> None:
        async with connect(url(server)) as socket:
            created = await receive(socket)
            assert created["type"] == "session.created"
            assert created["id"].startswith("sess")
            assert abs(created["created"] - time.time()) < 60
            await send(socket, "session.update", model="mistralai/Voxtral-Mini-4B-Realtime-2602")
            for _ in range(2):  # the socket may be used again
                await send(socket, "input_audio_buffer.commit")
                data = pcm(digits)
                for start in range(0, len(data), 4096):
                    await append(socket, data[start : start + 4096])
                await send(socket, "input_audio_buffer.commit")
                await send(socket, "input_audio_buffer.commit", final=True)
                *events, done = await until(socket, "transcription.done")
                n = len(demo.transcribe(digits).tokens)
                assert kinds(events).count("turn.delta") == n
                assert set(kinds(events)) == {"transcription.delta", "turn.delta"}
                text = "".join(event.get("delta", "") for event in events)
                assert text == done["text"] == digits_words
                assert done["usage"]["prompt_tokens"] == n
                assert done["usage"]["total_tokens"] == n + done["usage"]["completion_tokens"]

    run(main())


def test_vllm_errors(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """Each is told, and none ends the connection."""

    async def main() -> None:
        async with connect(url(server)) as socket:
            await receive(socket)

            async def refused(code: str) -> None:
                error = await receive(socket)
                assert (error["type"], error["code"]) == ("error", code), error
                assert isinstance(error["error"], str)

            await socket.send("{")
            await refused("invalid_json")
            await socket.send("[" * 100_000)
            await refused("invalid_json")
            await socket.send(b"bytes")
            await refused("invalid_json")
            await send(socket, "input_audio_buffer.commit")
            await refused("model_not_validated")
            await send(socket, "session.update")
            await refused("invalid_event")
            await send(socket, "session.update", model="any")
            for audio in ("", "***", 5, None):
                await send(socket, "input_audio_buffer.append", audio=audio)
                await refused("invalid_audio")
            await send(socket, "something.else")
            await refused("unknown_event")
            await append(socket, pcm(digits))  # without a commit before it
            await send(socket, "input_audio_buffer.commit", final=True)
            assert (await until(socket, "transcription.done"))[-1]["text"] == digits_words

    run(main())


def test_turns_of_a_model_that_knows_them(tmp_path: Path) -> None:
    """As X2-Turn's client: every delta, with or without text, is followed by its turn."""
    folder = tiny_model.write_official(tmp_path / "a", seed=3, has_turns=True)
    convert(folder, tmp_path / "a.gguf", type="f32")
    audio = tiny_model.make_audio(2 * vox.RATE, seed=7)

    async def main(server: Serving, slots: list[vox.Piece]) -> None:
        async with connect(url(server)) as socket:
            await receive(socket)
            await send(socket, "session.update", model="any")
            await send(socket, "input_audio_buffer.commit")
            for start in range(0, len(audio), 2048):
                await append(socket, pcm(audio[start : start + 2048]))
            await send(socket, "input_audio_buffer.commit", final=True)
            *messages, done = await until(socket, "transcription.done")
        text, turns, pending = "", list[dict[str, Any]](), ""
        for message in messages:
            if message["type"] == "transcription.delta":
                assert not pending  # or a delta would hide the one before it
                pending = message["delta"]
            else:
                assert message["type"] == "turn.delta"
                text, pending = text + pending, ""
                turns.append(message)
        assert text == done["text"] == "".join(slot.text for slot in slots).lstrip()
        assert [turn["frame_index"] for turn in turns] == list(range(len(slots)))
        assert [turn["turn_class"] for turn in turns] == [slot.turn for slot in slots]
        assert [tuple(turn["probs"]) for turn in turns] == [s.turn_confidences for s in slots]
        for turn in turns:
            assert vox.TURN_STATES[turn["turn_id"] - 35] == turn["turn_class"]

    with vox.Model(tmp_path / "a.gguf") as model, serving(model, limits=ROOMY) as server:
        run(main(server, list(model.slots((audio * 32768).astype("<i2")))))


def test_words_with_times(server: Serving, demo: vox.Model, digits: np.ndarray) -> None:
    """As the page asks: another rate and delay, and words when they are over."""
    whole = demo.transcribe(digits, delay_ms=960, confidence=True)

    async def main() -> None:
        async with connect(url(server)) as socket:
            await receive(socket)
            await send(socket, "session.update", model="x", rate=48_000, delay_ms=7)
            assert (await receive(socket))["code"] == "invalid_event"
            options = {"rate": 48_000, "delay_ms": 960, "include": ["words"]}
            await send(socket, "session.update", model="x", **options)
            await append(socket, pcm(np.asarray(soxr.resample(digits, vox.RATE, 48_000))))
            await send(socket, "input_audio_buffer.commit", final=True)
            messages = await until(socket, "transcription.done")
            words = [word for m in messages for word in m.get("words", [])]
            assert "".join(word["word"] for word in words) == messages[-1]["text"]
            assert [word["end"] for word in words] == pytest.approx(
                [word.end_ms / 1000 for word in whole.words], abs=0.1
            )
            assert all(0 < word["confidence"] <= 1 for word in words)

    run(main())


def test_dictation_is_on_time(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """localvoxtral's limits, each tightened: open in 1 s, 0.7 s of silence, done in 1.5 s."""

    async def main() -> None:
        data, began = pcm(digits), time.monotonic()
        headers = {"OpenAI-Beta": "realtime=v1", "Authorization": "Bearer key"}
        async with connect(url(server), additional_headers=headers) as socket:
            assert time.monotonic() - began < 1
            assert (await receive(socket))["type"] == "session.created"
            await send(socket, "session.update", model="any", vocabulary=["one"])
            text, n = "", 3200  # 100 ms
            for i, start in enumerate(range(0, len(data), n)):
                await append(socket, data[start : start + n])
                if i % 20 == 10:
                    await send(socket, "input_audio_buffer.commit")
                await asyncio.sleep(0.01)
            await send(socket, "input_audio_buffer.commit", final=True)
            last = ended = time.monotonic()
            while True:
                message = await receive(socket)
                assert time.monotonic() - last < 0.7
                last = time.monotonic()
                if message["type"] == "transcription.done":
                    break
                if message["type"] == "transcription.delta":
                    text += message["delta"]
            assert last - ended < 1.5
            assert text == message["text"] == digits_words

    run(main())


# ---- OpenAI -------------------------------------------------------------------------------------


def session(**heard: Any) -> dict[str, Any]:
    heard = {"format": {"type": "audio/pcm", "rate": 24_000}, **heard}
    return {"type": "transcription", "audio": {"input": heard}}


@pytest.fixture(scope="module")
def spoken(digits: np.ndarray) -> np.ndarray:
    """The digits at 24 kHz."""
    return np.asarray(soxr.resample(digits, vox.RATE, 24_000))


def at_24_khz(*parts: np.ndarray) -> bytes:
    return pcm(np.asarray(soxr.resample(np.concatenate(parts), vox.RATE, 24_000)))


def test_openai_client(server: Serving, spoken: np.ndarray, digits_words: str) -> None:
    """Commits by hand: deltas while it is spoken, the whole at the commit; twice."""

    async def main() -> None:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        options = {"extra_query": {"intent": "transcription"}}
        async with client, client.realtime.connect(**options) as connection:
            event = await connection.recv()
            assert event.type == "session.created"
            settings = session(
                transcription={"model": "gpt-live-transcribe", "delay": "medium"},
                turn_detection=None,
            )
            settings["include"] = ["item.input_audio_transcription.logprobs"]
            await connection.session.update(session=settings)
            event = await connection.recv()
            assert event.type == "session.updated"
            assert event.session.audio.input.transcription.model == "gpt-live-transcribe"
            assert event.session.audio.input.turn_detection is None
            previous = None
            for _ in range(2):
                text, probabilities = "", 0
                for start in range(0, len(spoken), 2400):
                    chunk = base64.b64encode(pcm(spoken[start : start + 2400])).decode()
                    await connection.input_audio_buffer.append(audio=chunk)
                while not text:  # before the commit
                    event = await connection.recv()
                    assert event.type == f"{TRANSCRIPTION}.delta"
                    text += event.delta
                    probabilities += len(event.logprobs)
                item = event.item_id
                await connection.input_audio_buffer.commit()
                seen = []
                while event.type != f"{TRANSCRIPTION}.completed":
                    event = await connection.recv()
                    seen.append(event.type)
                    if event.type == f"{TRANSCRIPTION}.delta":
                        text += event.delta
                        probabilities += len(event.logprobs)
                    elif event.type == "input_audio_buffer.committed":
                        assert (event.item_id, event.previous_item_id) == (item, previous)
                    assert event.event_id
                assert "input_audio_buffer.committed" in seen
                assert event.item_id == item
                assert text == event.transcript == digits_words
                assert event.usage.seconds == pytest.approx(len(spoken) / 24_000, abs=1e-3)
                assert len(event.logprobs) == probabilities > 5
                previous = item
            await connection.input_audio_buffer.commit()
            event = await connection.recv()
            assert event.type == "error"
            assert event.error.code == "input_audio_buffer_commit_empty"

    run(main())


def test_openai_turns(server: Serving, demo: vox.Model, digits: np.ndarray) -> None:
    """The server commits at the end of each turn, and its times are those of the audio."""
    last = demo.transcribe(digits).words[-1]

    async def main() -> None:
        client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        async with client, client.realtime.connect(extra_query={"intent": "transcription"}) as c:
            vad = {"type": "server_vad", "silence_duration_ms": 1200, "prefix_padding_ms": 200}
            await c.session.update(session=session(turn_detection=vad))
            data = at_24_khz(digits, SILENCE, digits, SILENCE)
            for start in range(0, len(data), 9600):
                chunk = base64.b64encode(data[start : start + 9600]).decode()
                await c.input_audio_buffer.append(audio=chunk)
            turns: list[dict[str, Any]] = []
            while len(turns) < 2 or "text" not in turns[-1]:
                event = await asyncio.wait_for(c.recv(), 20)
                if event.type == "input_audio_buffer.speech_started":
                    turns.append({"item": event.item_id, "start": event.audio_start_ms, "said": ""})
                elif event.type == f"{TRANSCRIPTION}.delta":
                    assert event.item_id == turns[-1]["item"]
                    turns[-1]["said"] += event.delta
                elif event.type == "input_audio_buffer.speech_stopped":
                    turns[-1]["end"] = event.audio_end_ms
                elif event.type == f"{TRANSCRIPTION}.completed":
                    assert event.item_id == turns[-1]["item"]
                    turns[-1]["text"] = event.transcript
            for i, turn in enumerate(turns):
                offset = i * (len(digits) + len(SILENCE)) / 16
                assert turn["said"] == turn["text"] == "eight five eight nine seven four"
                assert 0 <= turn["start"] - offset < 700
                assert abs(turn["end"] - offset - last.end_ms) < 300

    run(main())


def test_openai_flat_settings(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """The shape before the present one, with telephone audio."""

    async def main() -> None:
        headers = {"OpenAI-Beta": "realtime=v1"}
        address = url(server, "?intent=transcription")
        async with connect(address, additional_headers=headers) as socket:
            assert (await receive(socket))["type"] == "transcription_session.created"
            settings = {
                "input_audio_format": "g711_ulaw",
                "input_audio_transcription": {"model": "whisper-1", "language": "en"},
                "turn_detection": None,
            }
            await send(socket, "transcription_session.update", session=settings)
            updated = await receive(socket)
            assert updated["type"] == "transcription_session.updated"
            assert updated["session"].items() >= settings.items()
            await append(socket, mulaw(np.asarray(soxr.resample(digits, vox.RATE, 8000))))
            await send(socket, "input_audio_buffer.commit")
            *_, done = await until(socket, f"{TRANSCRIPTION}.completed")
            assert done["transcript"] == digits_words

    run(main())


def mulaw(samples: np.ndarray) -> bytes:
    """G.711, by looking for the nearest of its 256 values."""
    from voxtral_edge.serve.intake.inlet import MULAW

    order = np.argsort(MULAW, kind="stable")
    values = MULAW[order]
    return order[np.searchsorted((values[1:] + values[:-1]) / 2, samples)].astype("u1").tobytes()


def test_openai_errors(server: Serving) -> None:
    async def main() -> None:
        async with connect(url(server)) as socket:
            await receive(socket)
            bad: list[Any] = [
                session(format={"type": "audio/flac"}),
                session(format={"type": "audio/pcm", "rate": 7}),
                session(format={"type": "audio/pcm", "rate": "fast"}),
                session(transcription={"delay": "short"}),
                session(transcription=7),
                session(turn_detection={"type": "magic"}),
                session(turn_detection={"type": "server_vad", "threshold": 3}),
                session(turn_detection={"type": "server_vad", "silence_duration_ms": -1}),
                session(turn_detection={"type": "semantic_vad", "eagerness": "very"}),
                {"audio": 3},
                {"include": "all"},
            ]
            for settings in bad:
                await send(socket, "session.update", session=settings)
                error = await receive(socket)
                assert error["type"] == "error", settings
                assert error["error"]["type"] == "invalid_request_error"
            await send(socket, "session.update", session=session(turn_detection=None))
            assert (await receive(socket))["type"] == "session.updated"
            await append(socket, bytes(4800))
            await send(socket, "session.update", session=session())
            assert "cannot change" in (await receive(socket))["error"]["message"]
            await send(socket, "input_audio_buffer.clear")
            assert (await receive(socket))["type"] == "input_audio_buffer.cleared"
            await send(socket, "input_audio_buffer.commit")
            assert "empty" in (await receive(socket))["error"]["message"]
            await send(socket, "response.create")
            assert "unknown" in (await receive(socket))["error"]["message"]

    run(main())


# ---- load, slow clients, the end ----------------------------------------------------------------


def test_refused_at_the_door(demo: vox.Model, caplog: pytest.LogCaptureFixture) -> None:
    async def main(server: Serving) -> None:
        async with connect(url(server)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(url(server))
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["retry-after"]) > 0
        async with connect(url(server)) as socket:
            await receive(socket)

    with serving(demo, limits=Limits(max_streams=1)) as server:
        run(main(server))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_door_goes_by_measured_cost(demo: vox.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxtral_edge.serve.sessions.engine import Engine

    async def main(server: Serving) -> None:
        async with connect(url(server)), connect(url(server)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(url(server))
            assert b"would make all late" in refused.value.response.body

    with serving(demo) as server:
        monkeypatch.setattr(Engine, "cost", 0.3)
        run(main(server))


def test_cost_is_of_the_time_in_which_streams_are_heard(
    demo: vox.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour in which nobody came does not make the next ones cheap."""
    from voxtral_edge.serve.sessions import engine
    from voxtral_edge.serve.sessions.scheduler import Scheduler

    async def main() -> None:
        door = engine.Engine(demo, delay_ms=None, limits=Limits())
        try:
            door.live_s = 1000.0
            assert door.cost is not None
            now_s, audio_s = time.monotonic() + 3600, door.live_s + 40
            monkeypatch.setattr(engine.time, "monotonic", lambda: now_s)
            monkeypatch.setattr(Scheduler, "heard_s", 40.0)
            monkeypatch.setattr(Scheduler, "busy_s", 2.0)
            door.live_s = audio_s
            assert door.cost == pytest.approx(0.05)
        finally:
            monkeypatch.undo()
            door.scheduler.close()

    run(main())


def test_door_goes_by_measured_lag(demo: vox.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps up easily lets one more in now and then; who lags, nobody."""
    from voxtral_edge.serve.sessions import engine

    async def main(server: Serving) -> None:
        async with connect(url(server)), connect(url(server)):
            monkeypatch.setattr(engine.Engine, "_lag_s", lambda self: 0.1)
            async with connect(url(server)):
                with pytest.raises(websockets.InvalidStatus, match="503"):
                    await connect(url(server))
                monkeypatch.setattr(engine, "TRY_S", 0.0)
                async with connect(url(server)):
                    pass
                monkeypatch.setattr(engine.Engine, "_lag_s", lambda self: 0.7)
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await connect(url(server))
                assert b"lag by 0.7 s" in refused.value.response.body

    with serving(demo) as server:
        monkeypatch.setattr(engine.Engine, "cost", 0.3)
        monkeypatch.setattr(engine, "MANY", 2)
        run(main(server))


def test_lag_is_that_of_paced_streams(
    demo: vox.Model, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client sends ahead of its time is late by its own making."""
    from voxtral_edge.serve.sessions import engine

    monkeypatch.setattr(engine, "LEAST_LAGS", 5)

    async def main(server: Serving, pause_s: float) -> float | None:
        async with connect(url(server)) as socket:
            await receive(socket)
            await send(socket, "session.update", model="any")
            for start in range(0, len(digits), 2560):
                await append(socket, pcm(digits[start : start + 2560]))
                await asyncio.sleep(pause_s)
            await send(socket, "input_audio_buffer.commit", final=True)
            await until(socket, "transcription.done")
            return server.server._engine._lag_s()

    with serving(demo, limits=ROOMY) as server:
        assert run(main(server, 0.0)) is None
        lag_s = run(main(server, 0.16))
        assert lag_s is not None
        assert 0 <= lag_s < 3  # on a machine that is not busy, less than a chunk


def test_token_in_the_query(demo: vox.Model) -> None:
    async def main(server: Serving) -> None:
        for wrong in ("", "?token=wrong"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(url(server, wrong))
            assert refused.value.response.status_code == 401
        async with connect(url(server, "?token=secret")) as socket:
            await receive(socket)

    with serving(demo, token="secret") as server:
        run(main(server))


def test_pages_of_others_stay_out(server: Serving) -> None:
    async def main() -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(url(server), origin="https://evil.example")
        assert refused.value.response.status_code == 403

    run(main())


def test_a_client_that_does_not_read_is_dropped(
    server: Serving, digits: np.ndarray, digits_words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told something for each message, until nothing more fits; others are well meanwhile."""
    monkeypatch.setattr(sockets, "SEND_S", 0.5)

    async def pour(socket: Any) -> None:
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await send(socket, "x" * 100_000)

    async def main() -> None:
        async with (
            connect(url(server), max_queue=1, compression=None) as deaf,
            connect(url(server)) as other,
        ):
            pouring = asyncio.create_task(pour(deaf))
            await receive(other)
            await send(other, "session.update", model="any")
            while not pouring.done():
                await append(other, pcm(digits))
                await send(other, "input_audio_buffer.commit", final=True)
                assert (await until(other, "transcription.done"))[-1]["text"] == digits_words
            await pouring
        while server.server._engine.n_live:
            await asyncio.sleep(0.01)

    run(main())


def test_a_client_that_is_read_late_is_not_given_up(
    demo: vox.Model, digits: np.ndarray, digits_words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers to pings wait behind audio that it has sent before its time."""
    from voxtral_edge.serve.sessions.session import Session

    async def slow(self: Session) -> None:
        await asyncio.sleep(0.02)

    async def main(server: Serving) -> None:
        async with connect(url(server)) as socket:
            assert await whole(socket, pcm(digits), 2560) == digits_words

    with serving(demo, limits=ROOMY) as server:
        config = server.server._http.config
        config.ws_ping_interval = 0.1
        config.ws_ping_timeout = config.ws_ping_timeout and 0.3
        monkeypatch.setattr(Session, "room", slow)
        run(main(server))


def test_metrics(server: Serving) -> None:
    """What was done above, in numbers."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values["voxtral_audio_seconds_total"]) > 6
    assert float(values["voxtral_lag_seconds_count"]) > 0
    assert float(values["voxtral_decoder_columns_total"]) >= float(
        values["voxtral_decoder_passes_total"]
    )
    assert float(values["process_resident_memory_bytes"]) > 1e6
    assert {"voxtral_streams", "voxtral_files", "voxtral_files_waiting"} < {*values}
    assert float(values["voxtral_refusals_total"]) == 0


def test_a_client_that_vanishes_leaves_nothing(server: Serving, digits: np.ndarray) -> None:
    async def main() -> None:
        for _ in range(5):
            socket = await connect(url(server))
            await receive(socket)
            await append(socket, pcm(digits))
            socket.transport.abort()
        limit = time.monotonic() + 10
        while server.n_sessions or server.server._engine.n_live:
            assert time.monotonic() < limit
            await asyncio.sleep(0.01)

    run(main())


def test_what_is_there_ends_when_the_server_does(
    demo: vox.Model, digits: np.ndarray, digits_words: str
) -> None:
    async def main(server: Serving) -> None:
        async with connect(url(server)) as socket:
            await receive(socket)
            await send(socket, "session.update", model="any")
            await append(socket, pcm(digits))
            await until(socket, "transcription.delta")
            server.call(server.server.stop)
            assert (await until(socket, "transcription.done"))[-1]["text"] == digits_words
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await receive(socket)
            assert closed.value.rcvd.code == 1001

    with serving(demo) as server:
        run(main(server))


def test_many_streams(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    async def one() -> str:
        async with connect(url(server)) as socket:
            return await whole(socket, pcm(digits), 25_600)

    async def main() -> list[str]:
        return await asyncio.gather(*(one() for _ in range(20)))

    assert set(run(main())) == {digits_words}
