"""Closing in any order, twice, or never: no crash, no leak, a clear error for what comes late."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge._voxtral import lib
from voxtral_edge.streaming import model as model_module
from voxtral_edge.streaming import stream as stream_module


def test_stream_outlives_its_model(tiny_path: Path, noise: np.ndarray) -> None:
    """The weights belong to the stream as well; closing the model only gives up its share."""
    model = vox.Model(tiny_path)
    stream = model.stream()
    before = stream.feed(noise) + stream.finish()
    stream.reset()
    model.close()
    assert stream.feed(noise) + stream.finish() == before
    assert stream.model is model
    stream.close()


def test_closing_twice(tiny_path: Path) -> None:
    with vox.Model(tiny_path) as model, model.stream() as stream:
        stream.close()
        stream.close()
        assert stream.closed
        assert stream.pending == 0
        model.close()
        model.close()
        assert model.closed


@pytest.mark.parametrize(
    "use",
    [
        lambda stream: stream.feed(np.zeros(10, np.float32)),
        lambda stream: stream.push(np.zeros(10, np.float32)),
        lambda stream: next(stream.slots()),
        vox.Stream.finish,
        vox.Stream.end,
        vox.Stream.reset,
        lambda stream: stream.memory,
    ],
)
def test_closed_stream(tiny: vox.Model, use: Callable[[vox.Stream], object]) -> None:
    stream = tiny.stream()
    stream.close()
    with pytest.raises(vox.StreamClosed, match="open a new one"):
        use(stream)


def test_closed_while_slots_are_drawn(tiny: vox.Model, noise: np.ndarray) -> None:
    stream = tiny.stream()
    stream.push(noise)
    slots = stream.slots()
    next(slots)
    stream.close()
    with pytest.raises(vox.StreamClosed):
        next(slots)


def test_closed_model(tiny_path: Path, noise: np.ndarray) -> None:
    model = vox.Model(tiny_path)
    model.close()
    for use in (
        model.stream,
        lambda: model.transcribe(noise),
        lambda: model.token_bytes(32),
    ):
        with pytest.raises(vox.ModelClosed, match="open it again"):
            use()
    assert model.n_vocab == 1400  # what is known of it stays known


def test_forgotten_objects_warn_and_are_freed(tiny_path: Path) -> None:
    with pytest.warns(ResourceWarning, match=r"unclosed .*Stream") as caught:
        model = vox.Model(tiny_path)
        stream = model.stream()
        del stream
        gc.collect()
    assert len(caught) == 1
    del caught  # each warning holds the object that it is about
    with pytest.warns(ResourceWarning, match=r"unclosed .*Model"):
        del model
        gc.collect()


def test_garbage_in_a_cycle(tiny_path: Path, noise: np.ndarray) -> None:
    """The collector may finalise a stream after its model; neither needs the other to go."""
    for _ in range(5):
        model = vox.Model(tiny_path)
        stream = model.stream()
        stream.feed(noise[:20_000])
        model.stream_of_mine, stream.model_of_mine = stream, model  # type: ignore[attr-defined]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del model, stream
            gc.collect()
        assert {warning.category for warning in caught} == {ResourceWarning}
        assert len(caught) == 2


def test_failed_open_leaves_nothing_to_close(tiny: vox.Model, tmp_path: Path) -> None:
    with pytest.raises(vox.ModelNotFound):
        vox.Model(tmp_path / "none.gguf")
    with pytest.raises(vox.ArgumentError):
        tiny.stream(delay_ms=81)
    gc.collect()  # a ResourceWarning would fail the test here


def test_generator_closes_its_stream(tiny: vox.Model, noise: np.ndarray) -> None:
    pieces = tiny.pieces([noise])
    next(pieces)
    del pieces
    gc.collect()


def test_streams_give_their_memory_back(tiny: vox.Model, noise: np.ndarray) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def use() -> None:
        with tiny.stream() as stream:
            stream.feed(noise[:20_000])
            size.append(stream.memory)

    size: list[int] = []
    for _ in range(10):
        use()
    before = resident()
    for _ in range(100):
        use()
    assert resident() - before < 10 * max(size)


def test_models_open_and_close_in_threads(tiny_path: Path, noise: np.ndarray) -> None:
    """Streams are opened, and models closed, while others run; the count must hold."""
    expected: list[vox.Transcript] = []
    with vox.Model(tiny_path) as shared:
        expected.append(shared.transcribe(noise[:20_000]))
        results: list[vox.Transcript] = []

        def work() -> None:
            for _ in range(5):
                with vox.Model(tiny_path) as model:
                    results.append(model.transcribe(noise[:20_000]))
                results.append(shared.transcribe(noise[:20_000]))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == expected * 30


FORK = """
import os, sys
import numpy as np
import voxtral_edge as vox
noise = np.load(sys.argv[2])
model = vox.Model(sys.argv[1])  # its weights are read once, for both processes
child = os.fork()
text = model.transcribe(noise).tokens
if child == 0:
    np.save(sys.argv[3], text)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.load(sys.argv[3]).tolist() == list(text)
"""


def test_forked_before_the_first_stream(tiny_path: Path, noise: np.ndarray, tmp_path: Path) -> None:
    """A process that forks then shares its weights with its child; each has threads of its own."""
    audio, tokens = tmp_path / "audio.npy", tmp_path / "tokens.npy"
    np.save(audio, noise)
    command = [sys.executable, "-c", FORK, str(tiny_path), str(audio), str(tokens)]
    subprocess.run(command, check=True, timeout=60)


# ---- copies, and interruptions ------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_nothing_that_owns_memory_of_the_core_is_copied(
    tiny: vox.Model, copied: Callable[[object], object]
) -> None:
    with tiny.stream() as stream:
        for owner in (tiny, stream, tiny.astream()):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                copied(owner)


@pytest.mark.parametrize("way", ["feed", "slots", "finish"])
def test_an_interruption_loses_no_slot(
    demo: vox.Model, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that raises runs as soon as the core has returned, with a slot in its hands."""
    audio = np.concatenate(list(vox.read(SAMPLES / "digits_3.wav")))
    expected = list(demo.slots(audio))
    assert any(slot.text for slot in expected)

    class Core:
        """The core, after every fifth slot of which somebody presses Ctrl-C."""

        n = 0

        def __getattr__(self, name: str) -> object:
            return getattr(lib, name)

        def vox_stream_next(self, *args: object) -> int:
            status = int(lib.vox_stream_next(*args))
            self.n += 1
            if status == lib.VOX_SLOT and self.n % 5 == 0:
                raise KeyboardInterrupt
            return status

    monkeypatch.setattr(stream_module, "lib", Core())
    got, n_interrupted = list[vox.Piece](), 0

    def until_done(call: Callable[[], Iterable[vox.Piece]]) -> None:
        nonlocal n_interrupted
        while True:
            try:
                for piece in call():
                    got.append(piece)
                return
            except KeyboardInterrupt:
                n_interrupted += 1
                call = stream.slots

    with demo.stream() as stream:
        if way == "feed":
            until_done(lambda: stream.feed(audio))
            until_done(stream.finish)
        else:
            stream.push(audio)
            if way == "slots":
                stream.end()
            until_done(stream.slots if way == "slots" else stream.finish)
    assert n_interrupted > 5
    spoken = [slot for slot in expected if slot.text]
    assert [slot for slot in got if slot.text] == spoken
    if way == "slots":
        assert got == expected


HANDLERS = """
import resource, signal, sys
import numpy as np
import voxtral_edge as vox

audio = np.concatenate(list(vox.read(sys.argv[1])))
rng = np.random.default_rng(int(sys.argv[2]))


class Pressed(Exception):
    pass


def press(*_):
    raise Pressed


def at_a_random_moment(call, handler, longest):
    \"\"\"The result of the call, or None if the handler came before its end and raised.\"\"\"
    signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, longest))
            return call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Pressed:
        return None


def closed(call):
    result = call()
    if result is not None:
        result.close()
    return result
"""


def run_with_handlers(script: str, seed: int) -> str:
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", HANDLERS + script]
    command += [str(SAMPLES / "digits_3.wav"), str(seed)]
    return subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout


def test_what_an_interrupted_call_had_opened_is_closed() -> None:
    """Model(), stream(), load_stream() and flush(): memory does not grow with interruptions."""
    said = run_with_handlers(
        """
model = vox.Model()
stream = model.stream()
stream.feed(np.tile(audio, 3))
saved = stream.save()
ways = {
    "open": (lambda: closed(vox.Model), 0.03, 60),
    "stream": (lambda: closed(model.stream), 0.0005, 2000),
    "load": (lambda: closed(lambda: model.load_stream(saved)), 0.005, 400),
    "flush": (stream.flush, 0.02, 60),
}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
for name, (call, longest, n) in ways.items():
    call()
    before = resident()
    done = sum(at_a_random_moment(call, press, longest) is not None for _ in range(n))
    print(name, n - done, resident() - before)
""",
        seed=1,
    )
    for line in said.splitlines():
        name, n_interrupted, grown = line.split()
        assert int(n_interrupted) > 0, name
        assert int(grown) < 12e6, line


def test_what_is_half_made_goes_in_silence(
    demo: vox.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a constructor: no warning, and no error of what is not there yet."""

    def interrupt(*args: object) -> None:
        if not args or str(args[-1]).endswith("described"):
            raise KeyboardInterrupt

    monkeypatch.setattr(stream_module, "deque", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.stream()
    monkeypatch.setattr(model_module, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        vox.Model()
    gc.collect()


@pytest.mark.parametrize("seed", range(3))
def test_handlers_that_use_what_they_interrupt(seed: int) -> None:
    """A handler may close a model or a stream whose call it interrupted, and do no more with it."""
    said = run_with_handlers(
        """
model = vox.Model()
expected = [*model.slots(audio, confidence=True, alternatives=8)]
n = dict.fromkeys(["closed", "busy", "whole"], 0)
for k in range(60):
    stream = model.stream(confidence=True, alternatives=8)
    got = []

    def close(*_):
        stream.close()

    def use(*_):
        for call in (stream.reset, stream.finish, stream.save, lambda: next(stream.slots())):
            try:
                call()
            except vox.StreamBusy:
                n["busy"] += 1
            else:  # it came between two calls
                raise Pressed

    def call():
        stream.push(audio)
        stream.end()
        for slot in stream.slots():
            got.append(slot)
        return True

    try:
        if at_a_random_moment(call, close if k % 2 else use, 0.1):
            n["whole"] += 1
            assert got == expected
    except (vox.StreamClosed, vox.StreamFinished):
        n["closed"] += 1
        assert got == expected[: len(got)]
        assert stream.closed
    stream.close()

    own = vox.Model()
    streams = lambda: [own.stream().close() for _ in range(20)]
    try:
        at_a_random_moment(streams, lambda *_: own.close(), 0.002)
    except vox.ModelClosed:
        pass
    own.close()
    assert own.closed
print(*n.values())
""",
        seed=seed,
    )
    n_closed, n_busy, n_whole = map(int, said.split())
    assert min(n_closed, n_busy, n_whole) > 0
