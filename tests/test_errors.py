"""Every status of the core is reached through the public interface and says how to mend it."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge import errors
from voxtral_edge._voxtral import ffi, lib

BUILTIN = {
    vox.ArgumentError: ValueError,
    vox.AudioError: ValueError,
    vox.ModelNotFound: FileNotFoundError,
    vox.ModelFormatError: ValueError,
    vox.ModelClosed: RuntimeError,
    vox.StreamError: RuntimeError,
    vox.StreamClosed: RuntimeError,
    vox.StreamBusy: RuntimeError,
    vox.StreamFinished: RuntimeError,
    vox.StreamFormatError: ValueError,
    vox.ComputeError: RuntimeError,
    vox.OutOfMemory: MemoryError,
}


@pytest.mark.parametrize(("kind", "builtin"), BUILTIN.items())
def test_family(kind: type[vox.VoxtralError], builtin: type[Exception]) -> None:
    """Users may catch ours or Python's own; message and status survive a pickle."""
    assert issubclass(kind, vox.VoxtralError)
    assert issubclass(kind, builtin)
    error = pickle.loads(pickle.dumps(kind("what is wrong", -2)))
    assert (type(error), str(error), error.status) == (kind, "what is wrong", -2)


def test_docstring_draws_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in BUILTIN:
        line = next(line for line in drawn.splitlines() if line.strip().startswith(kind.__name__))
        parent = kind.__bases__[0].__name__
        above = drawn[: drawn.index(line)].splitlines()
        indent = len(line) - len(line.lstrip())
        owner = next(x for x in reversed(above) if x.strip() and len(x) - len(x.lstrip()) < indent)
        assert owner.split()[0].startswith(parent)


def test_every_status_has_a_class() -> None:
    statuses = {name: getattr(lib, name) for name in dir(lib) if name.startswith("VOX_ERR_")}
    assert len(statuses) == 6
    for name, status in statuses.items():
        with pytest.raises(vox.VoxtralError, match="the message") as caught:
            errors.check(status, "the message")
        assert caught.value.status == status
        assert type(caught.value) is not vox.VoxtralError, name
        assert ffi.string(lib.vox_status_name(status)).decode() == name
    assert errors.check(lib.VOX_WAIT, "") == lib.VOX_WAIT


# ---- ARGUMENT -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sample_that_is_not_finite(tiny: vox.Model, noise: np.ndarray, bad: float) -> None:
    """The chunk is refused as a whole; the stream goes on as if it had never come."""
    broken = noise[:3000].copy()
    broken[2999] = bad
    with tiny.stream() as stream:
        expected = stream.feed(noise) + stream.finish()
        stream.reset()
        with pytest.raises(vox.AudioError, match="not finite") as caught:
            stream.feed(broken)
        assert caught.value.status == lib.VOX_ERR_ARGUMENT
        assert stream.pending == 0
        assert stream.feed(noise) + stream.finish() == expected


@pytest.mark.parametrize("delay_ms", [0, -80, 40, 81, 1280, 2320, 2480, 2**40])
def test_delay_outside_the_set(tiny: vox.Model, delay_ms: int) -> None:
    with pytest.raises(vox.ArgumentError, match="80 to 1200 ms in steps of 80, and 2400"):
        tiny.stream(delay_ms=delay_ms)


def test_core_knows_the_same_delays(tiny: vox.Model, tiny_path: Path) -> None:
    stream, message = ffi.new("vox_stream **"), ffi.new("char[]", 200)
    known = []
    for delay_ms in range(1, 2500):
        params = ffi.new("vox_stream_params *", {"delay_ms": delay_ms})
        if lib.vox_stream_open(tiny._opened()[0], params, stream, message, 200) == lib.VOX_OK:
            known.append(delay_ms)
            lib.vox_stream_close(stream[0])
    assert tuple(known) == vox.DELAYS_MS


@pytest.mark.parametrize("threads", [0, -1, 257, 2**40])
def test_number_of_threads(tiny_path: Path, threads: int) -> None:
    with pytest.raises(vox.ArgumentError, match="threads must be 1 to 256"):
        vox.Model(tiny_path, threads=threads)


# ---- STATE --------------------------------------------------------------------------------------


def test_audio_after_the_end(tiny: vox.Model, noise: np.ndarray) -> None:
    with tiny.stream() as stream:
        stream.feed(noise)
        stream.end()
        for feed in (stream.feed, stream.push):
            with pytest.raises(vox.StreamFinished, match="reset") as caught:
                feed(noise)
            assert caught.value.status == lib.VOX_ERR_STATE
        assert stream.finish()


# ---- IO -----------------------------------------------------------------------------------------


def test_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(vox.ModelNotFound, match=r"no model file .*none\.gguf"):
        vox.Model(tmp_path / "none.gguf")
    with pytest.raises(vox.ModelNotFound):
        vox.Model("a\0b")


def test_model_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(vox.ModelError, match=str(tmp_path)) as caught:
        vox.Model(tmp_path)  # a directory
    assert caught.value.status == lib.VOX_ERR_IO
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(vox.ModelError, match="pipe"):  # nobody writes to it, and nobody waits
        vox.Model(tmp_path / "pipe.gguf")


# ---- FORMAT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 3, 4, 24, 300, 5_000, 30_000, 0.5, 0.99, -1])
def test_truncated_model(tiny_path: Path, tmp_path: Path, keep: float) -> None:
    """`keep`: bytes, a share of the file, or all but the last byte."""
    whole = tiny_path.read_bytes()
    n = int(keep * len(whole)) if 0 < keep < 1 else int(keep)
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[:n])
    with pytest.raises(
        vox.ModelFormatError, match=r"cut\.gguf: .*(truncated|cut short|not a GGUF)"
    ) as caught:
        vox.Model(path)
    assert caught.value.status == lib.VOX_ERR_FORMAT
    assert "\n" not in str(caught.value)


def test_model_of_another_program(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "llama.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("other")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(vox.ModelFormatError, match=r"another program .*llama.*voxtral convert"):
        vox.Model(path)


def gguf_header(n_tensors: int, n_keys: int, version: int = 3, order: str = "<") -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", version, n_tensors, n_keys)


def array_key(kind: int, n: int) -> bytes:
    return struct.pack("<QcIIQ", 1, b"a", 9, kind, n)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (gguf_header(0, 10**8), "counts more keys"),
        (gguf_header(10**8, 0), "counts more keys"),
        (gguf_header(0, 1) + array_key(8, 10**9), "damaged or cut short"),  # of strings
        (gguf_header(0, 1) + array_key(0, 10**10), "general.architecture is missing"),  # of bytes
        (gguf_header(0, 0, version=1), "version is neither 2 nor 3"),
        (gguf_header(0, 0, version=4), "version is neither 2 nor 3"),
        (gguf_header(0, 0, order=">"), "big-endian"),
    ],
)
def test_header_that_costs_nothing_to_refuse(head: bytes, message: str, tmp_path: Path) -> None:
    """Its claims are met by zeros that take no room on the disk."""
    (tmp_path / "m.gguf").write_bytes(head)
    os.truncate(tmp_path / "m.gguf", 10**11)
    start = time.process_time()
    with pytest.raises(vox.ModelFormatError, match=message):
        vox.Model(tmp_path / "m.gguf")
    assert time.process_time() - start < 0.5


def test_file_that_is_no_model() -> None:
    with pytest.raises(vox.ModelFormatError, match="not a GGUF file"):
        vox.Model(SAMPLES / "digits_1.wav")


# ---- MEMORY -------------------------------------------------------------------------------------

STARVE = """
import pathlib, resource, sys
import numpy as np
import voxtral_edge as vox

def limit(extra):
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * 4096
    soft = used + extra if extra else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))

audio = np.random.default_rng(0).standard_normal(64000).astype(np.float32) / 10
with vox.Model(sys.argv[1]) as model:
    with model.stream() as stream:
        expected = stream.feed(audio) + stream.finish()
    # Push until memory is out: the refused push leaves no trace, and room makes it go on.
    with model.stream() as stream:
        block = np.zeros(4_000_000, np.float32)
        limit(150 * 2**20)
        try:
            while True:
                stream.push(block)
        except vox.OutOfMemory as error:
            assert isinstance(error, MemoryError) and error.status == -5, error
            print("push:", error)
        n = stream.pending
        assert n % len(block) == 0
        limit(None)
        stream.push(block)
        assert stream.pending == n + len(block)
        stream.reset()
        assert stream.feed(audio) + stream.finish() == expected
    # Open streams until memory is out.
    streams = []
    limit(60 * 2**20)
    try:
        while True:
            streams.append(model.stream())
            streams[-1].feed(audio)
    except vox.OutOfMemory as error:
        print("stream:", error)
    limit(None)
    for stream in streams:
        stream.reset()
        assert stream.feed(audio) + stream.finish() == expected
        stream.close()
"""


def test_out_of_memory(tiny_path: Path, run_python: Callable[..., tuple[str, ...]]) -> None:
    done = subprocess.run(
        run_python("-c", STARVE, tiny_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["push", "stream"]
    assert all("out of memory" in line for line in lines)


CROWDED = """
import resource, sys
import numpy as np
import voxtral_edge as vox

audio = np.zeros(16000, np.float32)
with vox.Model(sys.argv[1], threads=250) as model, model.stream() as stream:
    stream.push(audio)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * 4096
    # Room for some stacks (8 MiB each), not for all.
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
    try:
        next(stream.slots())
    except vox.OutOfMemory as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with vox.Model(sys.argv[1]) as small, small.stream() as other:
        other.push(audio)
        assert next(stream.slots()) == next(other.slots())
"""


def test_threads_that_cannot_start(
    tiny_path: Path, run_python: Callable[..., tuple[str, ...]]
) -> None:
    """An error instead of the end of the process, and the call may be repeated."""
    done = subprocess.run(
        run_python("-c", CROWDED, tiny_path), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "out of memory, or of threads\n"


# ---- COMPUTE ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dec.norm.weight", "enc.norm.weight", "enc.blk.0.attn_q.bias"])
def test_model_with_values_that_are_not_finite(
    patched: Callable[[str, float], Path], noise: np.ndarray, name: str
) -> None:
    """The stream has failed for good, says so, and can still be reset and closed."""
    with vox.Model(patched(name, np.nan)) as model, model.stream() as stream:
        for _ in range(2):
            with pytest.raises(vox.ComputeError, match=r"not finite.*damaged") as caught:
                stream.feed(noise)
            assert caught.value.status == lib.VOX_ERR_COMPUTE
            for use in (lambda: stream.feed(noise), stream.finish, lambda: next(stream.slots())):
                with pytest.raises(vox.StreamError, match="failed") as after:
                    use()
                assert after.value.status == lib.VOX_ERR_STATE
            stream.reset()


@pytest.mark.parametrize("name", ["enc.norm.weight", "enc.blk.0.attn_q.bias"])
def test_embeddings_that_are_not_finite(
    patched: Callable[[str, float], Path], noise: np.ndarray, name: str
) -> None:
    """They are not handed out: a decoder elsewhere would have no way to tell."""
    with vox.Model(patched(name, np.nan)) as model, model.stream() as stream:
        stream.push(noise)
        with pytest.raises(vox.ComputeError, match=r"not finite.*damaged"):
            next(stream.embeddings())
        with pytest.raises(vox.StreamError, match="failed"):
            next(stream.embeddings())


def test_failing_in_the_last_words(patched: Callable[[str, float], Path]) -> None:
    with vox.Model(patched("dec.norm.weight", np.inf)) as model, model.stream() as stream:
        assert stream.feed(np.zeros(100, np.float32)) == []
        with pytest.raises(vox.ComputeError):
            stream.finish()
        with pytest.raises(vox.StreamError, match="failed") as caught:
            next(stream.slots())
        assert type(caught.value) is vox.StreamError
