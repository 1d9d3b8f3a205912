"""Files over HTTP: the openai client, curl's order of fields, uploads that are live, and limits."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import voxtral_edge as vox
from conftest import SAMPLES
from serving import ROOMY, Serving, pcm, serving, wav
from voxtral_edge.serve.dialects import files
from voxtral_edge.serve.intake import upload
from voxtral_edge.serve.sessions.engine import Limits

openai = pytest.importorskip("openai")

FILE = SAMPLES / "digits_1.wav"
BOUNDARY = "----voxtral"
PATIENCE_S = 60.0  # other programs may keep this machine busy for long


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, limits=ROOMY) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def part(name: str, value: bytes, file: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def post(
    server: Serving, body: bytes, path: str = "/v1/audio/transcriptions", **headers: str
) -> tuple[int, str]:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    request = urllib.request.Request(server.url + path, body, {**kind, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(condition: Any) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


# ---- the openai client --------------------------------------------------------------------------


def test_formats(client: Any, demo: vox.Model, digits_words: str) -> None:
    whole = demo.transcribe(FILE, confidence=True)

    def ask(**options: Any) -> Any:
        return client.audio.transcriptions.create(file=FILE, model="whisper-1", **options)

    plain = ask()
    assert plain.text == digits_words
    assert plain.usage.seconds == pytest.approx(whole.duration_s)
    assert ask(response_format="text") == digits_words + "\n"
    assert ask(response_format="srt") == whole.to_srt()
    assert ask(response_format="vtt") == whole.to_vtt()

    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.duration == pytest.approx(whole.duration_s)
    assert [(w.word, w.start, w.end) for w in verbose.words] == [
        (w.text.strip(), w.start_ms / 1000, w.end_ms / 1000) for w in whole.words
    ]
    assert [(s.text, s.start, s.end) for s in verbose.segments] == [
        (s.text, s.start_ms / 1000, s.end_ms / 1000) for s in whole.segments
    ]
    assert [t for s in verbose.segments for t in s.tokens] == [p.token for p in whole.pieces]
    known = [math.log(p.confidence or 0) for p in whole.pieces]
    assert verbose.segments[0].avg_logprob == pytest.approx(sum(known) / len(known))
    assert ask(response_format="verbose_json").words is None

    sure = ask(include=["logprobs"])
    assert [token.token for token in sure.logprobs] == [p.text for p in whole.pieces]
    assert [token.logprob for token in sure.logprobs] == pytest.approx(known)
    assert bytes(map(int, sure.logprobs[0].bytes)).decode() == whole.pieces[0].text


def test_stream(client: Any, demo: vox.Model, digits_words: str) -> None:
    events = list(
        client.audio.transcriptions.create(
            file=FILE, model="any", stream=True, include=["logprobs"]
        )
    )
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert "".join(event.delta for event in deltas) == digits_words
    assert (done.type, done.text) == ("transcript.text.done", digits_words)
    assert sum(len(event.logprobs) for event in deltas) == len(done.logprobs)
    slots = demo.transcribe(FILE).tokens
    assert done.usage.input_tokens == len(slots)


def test_long_file_has_segments(client: Any, demo: vox.Model, digits: np.ndarray) -> None:
    """Tokens belong to their segments, whose texts they make."""
    audio = np.tile(np.concatenate([digits, np.zeros(2 * vox.RATE, np.float32)]), 4)
    answer = client.audio.transcriptions.create(
        file=("long.wav", wav(audio)), model="any", response_format="verbose_json"
    )
    assert len(answer.segments) > 3
    for segment in answer.segments:
        text = b"".join(demo.token_bytes(token) for token in segment.tokens).decode()
        assert text.strip() == segment.text
        assert segment.avg_logprob < 0 < segment.compression_ratio


def test_other_kinds(client: Any) -> None:
    """Compressed, of 8 bits; and MPEG-4, whose index is at its end."""
    av = pytest.importorskip("av")
    import soundfile

    audio, rate = soundfile.read(SAMPLES / "digits_3.wav", dtype="float32")
    for kind, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", None), ("WAV", "PCM_U8")):
        file = io.BytesIO()
        soundfile.write(file, audio, rate, format=kind, subtype=subtype)
        answer = client.audio.transcriptions.create(file=("x", file.getvalue()), model="any")
        assert answer.text == "three zero four six", kind
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        resampler = av.AudioResampler("fltp", "mono", 16_000, 1024)
        whole = np.asarray(soxr.resample(audio, rate, 16_000), np.float32)
        frame = av.AudioFrame.from_ndarray(whole[None], "fltp", "mono")
        frame.sample_rate = 16_000
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(track.encode(part))
    answer = client.audio.transcriptions.create(file=("x.m4a", file.getvalue()), model="any")
    assert answer.text == "three zero four six"


def test_file_that_breaks_off(client: Any) -> None:
    """What there is of it is told, and that it breaks off."""
    answer = client.audio.transcriptions.create(
        file=("x.wav", FILE.read_bytes()[:70_000]), model="any", include=["logprobs"]
    )
    assert answer.text.startswith("eight five")
    assert "breaks off" in answer.warning


def test_refusals(client: Any) -> None:
    create = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError, match="knows no speakers"):
        create(file=FILE, model="any", response_format="diarized_json")
    with pytest.raises(openai.BadRequestError, match=r"carries text|is not audio"):
        create(file=("text.wav", b"this is no sound at all, but text"), model="any")
    with pytest.raises(openai.BadRequestError, match="empty"):
        create(file=("empty.wav", b""), model="any")
    with pytest.raises(openai.BadRequestError, match="'letter' is not one of segment, word"):
        create(file=FILE, model="any", response_format="verbose_json",
               timestamp_granularities=["letter"])  # fmt: skip
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(openai.BadRequestError, match="does not translate"),
    ):
        client.audio.translations.create(file=FILE, model="any")
    with pytest.raises(openai.APIError, match=r"carries text|is not audio"):
        list(create(file=("x", b"no sound" * 9), model="any", stream=True))


def test_models(client: Any, demo: vox.Model) -> None:
    assert [model.id for model in client.models.list()] == [demo.name]
    assert client.models.retrieve("whisper-1").id == "whisper-1"


# ---- what no client library does ----------------------------------------------------------------


def test_fields_may_follow_the_file(server: Serving, digits_words: str) -> None:
    for field in ("response_format", "stream"):
        value = b"text" if field == "response_format" else b"true"
        body = part("file", FILE.read_bytes(), "x.wav") + part(field, value)
        status, text = post(server, body + f"--{BOUNDARY}--\r\n".encode())
        assert status == 200
        if field == "stream":
            events = [json.loads(line[6:]) for line in text.splitlines() if line[:7] == "data: {"]
            assert events[-1]["text"] == digits_words
        else:
            assert text == digits_words + "\n"


def test_inference(server: Serving, digits_words: str) -> None:
    """As clients of whisper.cpp's server ask."""
    body = part("file", FILE.read_bytes(), "x.wav") + part("temperature", b"0.0")
    body += part("response_format", b"json") + f"--{BOUNDARY}--\r\n".encode()
    status, text = post(server, body, "/inference")
    assert (status, json.loads(text)["text"]) == (200, digits_words)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no file"),
        (part("model", b"x") + f"--{BOUNDARY}--\r\n".encode(), "no file"),
        (part("file", b"RIFF" * 99, "x.wav"), "breaks off"),
        (b"something else", "cannot be read"),
        (part("model", b"x" * 70_000), "too long"),
        (b"".join(part(f"f{i}", b"") for i in range(300)), "too many fields"),
        (part("file", b"a", "a") + part("file", b"a", "a"), "two files"),
        (part("audio", b"a", "a"), "in a field named file"),
    ],
)
def test_forms_that_cannot_be_read(server: Serving, body: bytes, reason: str) -> None:
    status, text = post(server, body)
    assert status == 400
    assert reason in json.loads(text)["error"]["message"]
    until(lambda: server.n_sessions == 0)


class Upload:
    """A request whose body is sent bit by bit."""

    def __init__(
        self, server: Serving, what: str = "POST /v1/audio/transcriptions", header: str = ""
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.server.port), PATIENCE_S)
        kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
        lines = [f"{what} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"]
        lines += [header or kind, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def until(self, mark: bytes) -> None:
        while mark not in self.received:
            more = self.socket.recv(1 << 16)
            assert more, self.received
            self.received += more


def test_text_comes_while_the_upload_runs(
    server: Serving, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KEEP_ALIVE_S", 0.2)
    sound = wav(digits)
    half = len(sound) // 2
    live = Upload(server)
    with live.socket:
        live.send(part("stream", b"true") + part("file", sound[:half], "x.wav")[:-2])
        live.until(b"text.delta")
        live.received = b""
        live.until(b": still here")
        live.send(sound[half:] + f"\r\n--{BOUNDARY}--\r\n".encode())
        live.send(b"")
        live.until(b"[DONE]")
        assert b'"eight five eight nine seven four"' in live.received


def test_a_client_that_leaves_ends_its_work(server: Serving, digits: np.ndarray) -> None:
    import soundfile

    sound = wav(digits)
    for stream in (b"true", b"false"):
        live = Upload(server)
        with live.socket:
            live.send(part("stream", stream) + part("file", sound[:60_000], "x.wav")[:-2])
            until(lambda: server.n_sessions == 1)
        until(lambda: server.n_sessions == 0)
    # and one that leaves when all is sent: half an hour would take seconds
    live = Upload(server)
    with live.socket:
        file = io.BytesIO()
        soundfile.write(file, np.zeros(1800 * vox.RATE, np.int16), vox.RATE, format="FLAC")
        live.send(part("file", file.getvalue(), "x.flac") + f"--{BOUNDARY}--\r\n".encode())
        live.send(b"")
        until(lambda: server.server._engine.n_files == 1)
        time.sleep(0.5)
    began = time.monotonic()
    until(lambda: server.n_sessions == 0)
    assert time.monotonic() - began < 3


def test_upload_is_not_held_in_memory(server: Serving) -> None:
    """A header of 96 kHz, 8 channels, and 100 MB of it."""
    resource = pytest.importorskip("resource", reason="memory is not told here")
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 8, 96_000,
                       96_000 * 16, 16, 16, b"data", 0)  # fmt: skip
    live = Upload(server)
    with live.socket:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        live.send(part("response_format", b"text") + part("file", head, "x.wav")[:-2])
        for _ in range(100):
            live.send(bytes(1_000_000))
        live.send(f"\r\n--{BOUNDARY}--\r\n".encode())
        live.send(b"")
        live.until(b"200 OK")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000  # KiB


def test_upload_has_a_limit(
    server: Serving, monkeypatch: pytest.MonkeyPatch, digits: np.ndarray
) -> None:
    monkeypatch.setattr(server.server._engine, "limits", Limits(max_upload=100_000))
    live = Upload(server)
    with live.socket:
        live.send(part("file", wav(digits), "x.wav"))
        live.until(b"413")
    until(lambda: server.n_sessions == 0)


def test_a_silent_client_is_given_up(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "IDLE_S", 0.3)
    live = Upload(server)
    with live.socket:
        live.send(part("file", b"RIFF", "x.wav")[:-2])
        live.until(b"408")


# ---- files wait for files -----------------------------------------------------------------------


def test_queue_has_an_end(demo: vox.Model, digits: np.ndarray) -> None:
    limits = Limits(max_files=1, max_queue=1)
    with serving(demo, limits=limits) as server:
        first, second = Upload(server), Upload(server)
        with first.socket, second.socket:
            first.send(part("file", wav(digits)[:50_000], "x.wav")[:-2])
            until(lambda: server.n_sessions == 1)
            second.send(part("file", wav(digits), "x.wav") + f"--{BOUNDARY}--\r\n".encode())
            second.send(b"")
            until(lambda: server.server._engine.n_queued == 1)
            body = part("file", wav(digits), "x.wav") + f"--{BOUNDARY}--\r\n".encode()
            status, text = post(server, body)
            assert status == 503
            assert "wait already" in text
            first.socket.close()
            second.until(b"eight five eight")
        assert post(server, body)[0] == 200
        until(lambda: server.server._engine.n_files == 0)


# ---- who may come in ----------------------------------------------------------------------------


def status_of(server: Serving, path: str, **headers: str) -> int:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_local_server_goes_by_local_names(server: Serving) -> None:
    assert status_of(server, "/v1/models") == 200
    assert status_of(server, "/v1/models", Host="localhost:1") == 200
    assert status_of(server, "/v1/models", Host="evil.example") == 403
    assert status_of(server, "/v1/models", Origin="https://evil.example") == 403
    assert status_of(server, "/v1/models", Origin="null") == 403
    assert status_of(server, "/v1/models", Origin=server.url) == 200


def asked(
    server: Serving, method: str, path: str, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers with names in small letters, and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, method=method, headers=named)
    try:
        answer = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        known = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, known, answer.read()


def test_pages_of_allowed_origins(demo: vox.Model) -> None:
    """A browser asks first, without the token, and lets the page read what it is told."""
    mine = "https://mine.example"
    wants = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-any"}
    with serving(demo, token="secret", origins=(mine,), limits=ROOMY) as server:
        for path in ("/v1/audio/transcriptions", "/v1/audio/stream", "/v1/models"):
            status, headers, _ = asked(server, "OPTIONS", path, Origin=mine, **wants)
            assert status == 204
            assert headers["access-control-allow-origin"] == mine
            assert {"POST", "PUT"} < {*headers["access-control-allow-methods"].split(", ")}
            assert "authorization" in headers["access-control-allow-headers"]
            assert asked(server, "OPTIONS", path, Origin="https://evil.example", **wants)[0] == 403
        assert asked(server, "OPTIONS", "/v1/models")[0] == 401  # which asks for no page
        status, headers, body = asked(server, "GET", "/v1/models", Origin=mine)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert headers["access-control-allow-origin"] == mine
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
        status, headers, _ = asked(server, "GET", "/v1/models", Origin="https://evil.example")
        assert status == 403
        assert "access-control-allow-origin" not in headers


def test_what_is_not_there(server: Serving) -> None:
    """Probes ask by HEAD, and errors have the shape that clients know."""
    for path in ("/health", "/ready", "/"):
        assert asked(server, "HEAD", path)[0::2] == (200, b"")
    for method, path, expected in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/page/nothing.js", 404),
        ("GET", "/docs", 404),  # which would run scripts from elsewhere
        ("POST", "/v1/models", 405),
    ):
        status, _, body = asked(server, method, path)
        assert status == expected
        error = json.loads(body)["error"]
        assert path in error["message"]
        assert error["type"] == "invalid_request_error"


def test_nothing_said(client: Any) -> None:
    """Silence has no words, in any format; a video without sound is refused."""
    file = ("x.wav", wav(np.zeros(2 * vox.RATE, np.float32)))
    create = client.audio.transcriptions.create
    assert create(file=file, model="any").text == ""
    assert create(file=file, model="any", response_format="srt") == ""
    assert create(file=file, model="any", response_format="vtt").strip() == "WEBVTT"
    verbose = create(file=file, model="any", response_format="verbose_json")
    assert (verbose.segments, verbose.duration) == ([], 2.0)
    assert create(file=("x.wav", wav(np.zeros(0, np.float32))), model="any").text == ""
    with pytest.raises(openai.BadRequestError, match="not one of json"):
        create(file=file, model="any", response_format="yaml")


def test_what_changes_nothing(client: Any) -> None:
    """Settings of other models are accepted."""
    answer = client.audio.transcriptions.create(
        file=SAMPLES / "digits_3.wav",
        model="any",
        temperature=0.7,
        prompt="Hello.",
        language="en",
        chunking_strategy={"type": "server_vad", "threshold": 0.5},
    )
    assert answer.text == "three zero four six"


def test_token(demo: vox.Model) -> None:
    with serving(demo, token="secret", origins=("https://mine.example",)) as server:
        assert status_of(server, "/health") == status_of(server, "/ready") == 200
        assert status_of(server, "/v1/models") == 401
        for wrong in ("Bearer", "Bearer ", "Bearer secre", "Basic secret", "secret", "Bearer \xe9"):
            assert status_of(server, "/v1/models", Authorization=wrong) == 401
        assert status_of(server, "/v1/models", Authorization="Bearer secret") == 200
        assert status_of(server, "/v1/models?token=secret", Host="any.example") == 200
        assert status_of(server, "/v1/models?token=wrong") == 401
        origin = {"Authorization": "Bearer secret", "Origin": "https://mine.example"}
        assert status_of(server, "/v1/models", **origin) == 200
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret") as client:
            assert client.audio.transcriptions.create(file=FILE, model="any").text
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong") as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()


def test_other_hosts_need_a_token(demo: vox.Model) -> None:
    with pytest.raises(vox.ArgumentError, match="--token-file"), serving(demo, host="0.0.0.0"):
        pass
    with serving(demo, host="0.0.0.0", is_insecure=True) as server:
        assert status_of(server, "/health", Host="any.example") == 200


def test_described(server: Serving) -> None:
    """OpenAPI has the forms and the live body."""
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=20) as answer:
        paths = json.load(answer)["paths"]
    for path in ("/v1/audio/transcriptions", "/inference"):
        (form,) = paths[path]["post"]["requestBody"]["content"].values()
        assert {"file", "stream", "response_format"} < {*form["schema"]["properties"]}
    assert {"get", "put", "post"} == {*paths["/v1/audio/stream"]}
    assert len(paths["/v1/audio/stream"]["put"]["parameters"]) == 6


def test_tls(demo: vox.Model, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
         certificate], check=True, capture_output=True)  # fmt: skip
    with serving(demo, certificate=certificate, key=key) as server:
        context = ssl.create_default_context(cafile=certificate)
        address = f"https://{server.address}/v1/models"
        with urllib.request.urlopen(address, context=context, timeout=20) as answer:
            assert json.load(answer)["data"]


# ---- the process that decodes -------------------------------------------------------------------


def test_decoder_has_no_network_and_no_programs(tmp_path: Path) -> None:
    code = """
import ctypes, errno, os, platform, socket
from voxtral_edge.system import here
here.confine(2 << 30, 1000, 100)
libc = ctypes.CDLL(None, use_errno=True)

def numbered(number):
    if libc.syscall(number, 1, 1, 0) < 0 and ctypes.get_errno() == errno.EPERM:
        raise PermissionError

is_x86 = platform.machine() == "x86_64"
for call in (
    socket.socket,
    socket.socketpair,
    lambda: os.execv("/bin/true", ["true"]),
    lambda: numbered(425),  # io_uring_setup, which could open sockets
    lambda: numbered(0x4000_0000 + 41 if is_x86 else 198),  # socket of x32
):
    try:
        call()
    except PermissionError:
        continue
    raise SystemExit("allowed")
with open("big", "wb", buffering=0) as file:
    assert file.write(bytes(2000)) == 1000
    try:
        file.write(b"x")
    except OSError as error:
        assert error.errno == errno.EFBIG
        print("confined")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "confined\n", done.stderr


# ---- the command --------------------------------------------------------------------------------


def test_command(digits_words: str) -> None:
    """Ready within a moment, and gone at SIGTERM with 0, after what it had begun."""
    options = ["serve", "--port", "0", "--wyoming", "tcp://127.0.0.1:0"]
    command = [sys.executable, "-W", "error", "-m", "voxtral_edge", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(process)
        stack.enter_context(process.stderr)
        stack.callback(process.kill)
        line = ""
        while " ready " not in line:
            line = process.stderr.readline()
            assert line, "it ended"
        port = int(line.split(" port=")[1].split()[0])
        running = Serving(type("S", (), {"port": port})(), None)  # type: ignore[arg-type]
        live = Upload(running)
        with live.socket:
            sound = wav(np.concatenate(list(vox.read(FILE))))
            live.send(part("stream", b"true") + part("file", sound[:50_000], "x.wav")[:-2])
            live.until(b"data:")
            process.terminate()
            until(lambda: status_of(running, "/ready") == 503)
            assert status_of(running, "/health") == 200
            live.send(sound[50_000:] + f"\r\n--{BOUNDARY}--\r\n".encode())
            live.send(b"")
            live.until(digits_words.encode())
            live.until(b"[DONE]")
        assert process.wait(20) == 0


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        command = [sys.executable, "-m", "voxtral_edge", "serve", "--port", "0", *options]
        command += [] if "--wyoming" in options else ["--wyoming", "off"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert done.stderr.startswith("voxtral: ")
        return done.stderr.splitlines()[-1]

    assert "--token-file" in refused("--host", "0.0.0.0")
    assert "missing: No such file" in refused("--token-file", "missing")
    (tmp_path / "token").write_text("\n")
    assert "is empty" in refused("--token-file", str(tmp_path / "token"))
    assert "belong together" in refused("--tls-cert", "x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: Address already in use" in refused("--port", port)


# ---- live bodies --------------------------------------------------------------------------------


def test_live_body(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    """Raw samples, or WAV whose length nobody knew; text comes before the end of the body."""
    endless = bytearray(wav(digits))
    endless[4:8] = endless[40:44] = b"\xff\xff\xff\xff"
    for data, query in ((pcm(digits), ""), (bytes(endless), ""), (pcm(digits[::2]), "?rate=8000")):
        for accept, mark in (("text/plain", b"e"), ("*/*", b"text.delta")):
            live = Upload(server, f"PUT /v1/audio/stream{query}", f"Accept: {accept}")
            with live.socket:
                live.send(data[: len(data) // 2])
                live.until(b"\r\n\r\n")
                _, live.received = live.received.split(b"\r\n\r\n", 1)
                live.until(mark)
                live.send(data[len(data) // 2 :])
                live.send(b"")
                live.until(b"\r\n0\r\n")
                chunks = re.findall(rb"[0-9a-f]+\r\n(.*?)\r\n", live.received, re.DOTALL)
                text = b"".join(chunks).decode()
                if accept == "*/*":
                    text = json.loads(text.split("data: ")[-2])["text"] + "\n"
                assert text.startswith("eight five ")
                assert text == digits_words + "\n" or query  # at 8 kHz some may be misheard
            until(lambda: server.server._engine.n_live == 0)


def test_curl_is_a_client(server: Serving, digits: np.ndarray, digits_words: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    command = [curl, "-sNT", "-", "-H", "Accept: text/plain", f"{server.url}/v1/audio/stream"]
    done = subprocess.run(command, input=pcm(digits), capture_output=True, timeout=60)
    assert done.stdout.decode() == digits_words + "\n"


def test_live_body_ends_when_the_server_does(demo: vox.Model, digits: np.ndarray) -> None:
    with serving(demo, limits=ROOMY) as server:
        live = Upload(server, "PUT /v1/audio/stream", "Accept: */*")
        with live.socket:
            live.send(pcm(digits))
            live.until(b"text.delta")
            server.call(server.server.stop)
            live.until(b"[DONE]")
            assert b"nine seven four" in live.received


def test_live_body_refused(server: Serving) -> None:
    for query in ("rate=fast", "rate=3", "encoding=mp3", "channels=0", "delay=5"):
        live = Upload(server, f"POST /v1/audio/stream?{query}")
        with live.socket:
            live.send(bytes(100))
            live.until(b"400 Bad")
