"""Words that clients list, in every protocol that has a name for them; and the server's gain."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voxtral_edge as vox
from serving import ROOMY, Serving, pcm, run, serving, wav

connect = pytest.importorskip("websockets.asyncio.client").connect
wyoming = pytest.importorskip("wyoming.client")
audio = pytest.importorskip("wyoming.audio")
Event = pytest.importorskip("wyoming.event").Event

ORDER = Path(__file__).parent / "data" / "orders" / "speaker008_004.flac"


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY, wyoming="tcp://127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def order(demo: vox.Model) -> np.ndarray:
    """Somebody asks for cream, beside noise as loud, and is understood only if it is listed."""
    clip = np.concatenate(list(vox.read(ORDER)))
    loud = np.sqrt(np.mean(clip[np.abs(clip) > 0.01] ** 2))
    noisy = clip + np.random.default_rng(5).normal(0, loud, len(clip))
    sent = np.frombuffer(pcm(noisy / 4), "<i2").astype(np.float32) / 32768
    assert demo.transcribe(sent).text.endswith("a little bit of sweetener")
    return sent


@pytest.fixture(scope="module")
def expected(demo: vox.Model, order: np.ndarray) -> str:
    text = demo.transcribe(order, words=["cream"]).text
    assert text.endswith("a little bit of cream")
    return text


def post(server: Serving, file: bytes, **fields: str) -> tuple[int, str]:
    """Post a file; fields, with brackets, before it."""
    lines = [
        f'--b\r\nContent-Disposition: form-data; name="{name}[]"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = "".join([*lines, head]).encode() + file + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{server.url}/v1/audio/transcriptions", body, kind)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())["text"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]["param"]


def test_files(server: Serving, order: np.ndarray, expected: str) -> None:
    assert post(server, wav(order), keywords="cream") == (200, expected)
    assert post(server, wav(order), context_bias="cream") == (200, expected)
    assert post(server, wav(order), keywords="lamp")[1].endswith("sweetener")
    assert post(server, wav(order), keywords="a" * 256) == (400, "keywords")


def test_the_gain_of_the_server(demo: vox.Model, digits: np.ndarray, digits_words: str) -> None:
    quiet = wav(digits / 256)
    with serving(demo, limits=ROOMY, gain="auto") as server:
        assert post(server, quiet) == (200, digits_words)
    with serving(demo, limits=ROOMY) as server:
        assert post(server, quiet) != (200, digits_words)


async def speak(
    server: Serving, path: str, settings: dict[str, Any], clip: np.ndarray, kinds: dict[str, Any]
) -> dict[str, Any]:
    """Send settings, audio and its end over a socket; return the last message."""
    async with connect(f"ws://{server.address}{path}", max_size=None) as socket:
        await socket.send(json.dumps(settings))
        data = base64.b64encode(pcm(clip)[: 1 << 18]).decode()
        await socket.send(json.dumps({"type": kinds["append"], "audio": data}))
        await socket.send(json.dumps(kinds["end"]))
        while True:
            message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if message["type"] in (kinds["done"], "error"):
                return message


VLLM = {
    "append": "input_audio_buffer.append",
    "end": {"type": "input_audio_buffer.commit", "final": True},
    "done": "transcription.done",
}
OPENAI = {
    "append": "input_audio_buffer.append",
    "end": {"type": "input_audio_buffer.commit"},
    "done": "conversation.item.input_audio_transcription.completed",
}
MISTRAL = {
    "append": "input_audio.append",
    "end": {"type": "input_audio.end"},
    "done": "transcription.done",
}


def openai(words: Any) -> dict[str, Any]:
    heard = {
        "format": {"type": "audio/pcm", "rate": 16_000},
        "transcription": {"keywords": words},
        "turn_detection": None,
    }
    return {"session": {"type": "transcription", "audio": {"input": heard}}}


@pytest.mark.parametrize(
    ("path", "listing", "kinds"),
    [
        ("/v1/realtime", lambda words: {"model": "any", "vocabulary": words}, VLLM),
        ("/v1/realtime", openai, OPENAI),
        (
            "/v1/audio/transcriptions/realtime",
            lambda words: {"session": {"context_bias": words}},
            MISTRAL,
        ),
    ],
    ids=["vllm", "openai", "mistral"],
)
def test_live(
    server: Serving, order: np.ndarray, expected: str, path: str, listing: Any, kinds: Any
) -> None:
    def heard(words: Any) -> dict[str, Any]:
        settings = {"type": "session.update", **listing(words)}
        return run(speak(server, path, settings, order, kinds))

    done = heard(["cream"])
    assert done.get("text", done.get("transcript")).strip() == expected
    for words in ("cream", ["a\nb"], [7], ["a" * 256], ["word"] * 20_000):
        assert heard(words)["type"] == "error"


def test_wyoming(server: Serving, order: np.ndarray, expected: str) -> None:
    async def main(data: dict[str, Any]) -> Any:
        assert server.server.wyoming is not None
        port = server.server.wyoming.port
        async with wyoming.AsyncTcpClient("127.0.0.1", port, read_timeout=60) as to:
            await to.write_event(Event("transcribe", data))
            await to.write_event(audio.AudioStart(rate=16_000, width=2, channels=1).event())
            chunk = audio.AudioChunk(rate=16_000, width=2, channels=1, audio=pcm(order))
            await to.write_event(chunk.event())
            await to.write_event(audio.AudioStop().event())
            while event := await to.read_event():
                if event.type in ("transcript", "error"):
                    return event
        raise AssertionError("no transcript came")

    for data in ({"transcript_names": ["cream"]}, {"transcript_terms": ["lamp", "cream"]}):
        assert run(main(data)).data["text"].strip() == expected
    assert run(main({"transcript_names": "cream"})).type == "error"
