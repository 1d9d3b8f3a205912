"""voxtral convert ORG/NAME and voxtral models, against a hub on the loopback interface."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tiny_model
import voxtral_edge as vox
from conftest import SAMPLES, STOPPING, Main, little_space
from hub_server import COMMIT, Hub
from voxtral_edge.convert import convert
from voxtral_edge.machine import models

NAME, WEIGHTS = "someone/Tiny-Voxtral", "consolidated.safetensors"
MODEL = "Tiny-Voxtral-q4_k_m"
CLIP = SAMPLES / "digits_3.wav"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_official(tmp_path_factory.mktemp("checkpoint") / "official", seed=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that huggingface_hub in this process asks, which reads its settings as it is loaded."""

    def unload() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]
        return {name: sys.modules.pop(name) for name in names}

    before = unload()
    with Hub(tmp_path_factory.mktemp("home")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.settings.items():
            patch.setenv(name, value)
        from huggingface_hub import constants, file_download

        assert server.settings["HF_ENDPOINT"] in constants.HUGGINGFACE_CO_URL_TEMPLATE
        patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65536)  # what is kept of a broken answer
        patch.setattr(file_download.time, "sleep", lambda seconds: None)
        yield server
    unload()
    sys.modules.update(before)


@pytest.fixture
def hub(server: Hub, checkpoint: Path) -> Hub:
    """The hub with one repository, and nothing in its cache and the data directory."""
    server.clear()
    server.add(NAME, checkpoint)
    return server


@pytest.fixture
def home(hub: Hub) -> Path:
    """Where the cache and the data directory are."""
    return hub.home


@pytest.fixture
def voxtral(hub: Hub, run_python: Callable[..., tuple[str, ...]]) -> Main:
    """Run the command as a process, with settings."""

    def run(*args: object, **settings: str) -> tuple[int, str, str]:
        done = subprocess.run(
            run_python("-m", "voxtral_edge", *args),
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def main(hub: Hub, main: Main) -> Main:
    """Run the command in this process."""
    return main


def left(home: Path) -> list[str]:
    """What could be half a file, or a model, below a folder."""
    return sorted(
        path.name
        for path in home.rglob("*")
        if path.suffix in (".part", ".incomplete", ".gguf", ".tmp") and path.is_file()
    )


def one_line(done: tuple[int, str, str], status: int, pattern: str) -> None:
    """The command must have failed with one line."""
    assert done[0] == status, done
    assert done[2].startswith("voxtral: ") and done[2].count("\n") == 1, done
    assert re.search(pattern, done[2]), done


# ---- downloads that succeed ---------------------------------------------------------------------


def test_one_command(voxtral: Main, hub: Hub, home: Path, checkpoint: Path) -> None:
    """Convert by name, and transcribe with the beginning of the name."""
    status, out, errors = voxtral("convert", NAME)
    assert (status, errors) == (0, "")
    first, last = out.splitlines()
    assert first == f"{NAME}, revision {COMMIT[:12]}, licence: apache-2.0; 0.00 GB"
    path = home / "data" / "voxtral-edge" / "models" / f"{MODEL}.gguf"
    assert last.startswith(f"{path}: ")
    assert "picture.png" not in {request.path.rpartition("/")[2] for request in hub.requests}
    convert(checkpoint, home / "same.gguf", name="Tiny Voxtral", license="apache-2.0")
    assert path.read_bytes() == (home / "same.gguf").read_bytes()
    with vox.Model(path) as model:
        expected = model.transcribe(CLIP).text
    assert voxtral("transcribe", "-m", "tiny", CLIP) == (0, expected + "\n", "")


def test_offline(voxtral: Main, main: Main, hub: Hub) -> None:
    """With HF_HUB_OFFLINE or without a network, the cache is used, and only that."""
    done = voxtral("convert", NAME, HF_HUB_OFFLINE="1")
    one_line(done, 2, "not in the cache.*HF_HUB_OFFLINE")
    assert hub.requests == []
    assert main("convert", NAME)[0] == 0
    hub.requests.clear()
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for settings in ({"HF_HUB_OFFLINE": "1"}, nobody):
        status, out, errors = voxtral("convert", NAME, **settings)
        assert (status, errors) == (0, "")
        assert "licence: apache-2.0; from the cache" in out
    one_line(voxtral("convert", "someone/other", **nobody), 2, "the hub cannot be reached: connect")
    assert hub.requests == []


def test_a_given_place_and_a_second_run(main: Main, hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    assert main("convert", NAME, target, "--type", "q8_0", "--verify")[0] == 0
    assert target.exists() and main("models")[1] == ""
    hub.requests.clear()
    assert main("convert", NAME, target, "--quiet") == (0, "", "")
    assert hub.asked(WEIGHTS) == []


def test_the_other_layout(main: Main, hub: Hub, home: Path, tmp_path: Path) -> None:
    folder = tiny_model.write_transformers(tmp_path / "hf", seed=3, n_shards=2)
    hub.add("someone/hf", folder, license=None)
    status, out, _ = main("convert", "someone/hf")
    assert status == 0
    assert "licence: not stated" in out
    assert left(home) == ["hf-q4_k_m.gguf"]


def test_a_model_that_knows_turns(voxtral: Main, hub: Hub, home: Path, tmp_path: Path) -> None:
    """Published with both configurations, but with the weights of one layout."""
    folder = tiny_model.write_transformers(tmp_path / "x2", seed=3, has_turns=True)
    sizes = tiny_model.PRESETS["micro"]
    (folder / "params.json").write_text(json.dumps(tiny_model.params_json(sizes)))
    hub.add("x-square-robot/X2-Turn-4B-0812", folder)
    status, out, errors = voxtral("convert", "x-square-robot/X2-Turn-4B-0812", "--verify")
    assert (status, errors) == (0, "") and "licence: apache-2.0" in out
    assert left(home) == ["X2-Turn-4B-0812-q4_k_m.gguf"]
    assert hub.asked("model.safetensors") and not hub.asked("params.json")
    assert voxtral("inspect", "x2-turn", "--filter", "turn")[1].count("dec.turn.weight") == 1
    assert voxtral("transcribe", "-m", "x2", CLIP)[::2] == (0, "")
    with vox.Model(home / "data" / "voxtral-edge" / "models" / left(home)[0]) as model:
        assert model.has_turns and model.name == "X2 Turn 4B 0812"


def test_a_broken_connection_is_resumed(main: Main, hub: Hub, home: Path) -> None:
    hub.cuts[WEIGHTS] = [100_000, 300_000]
    status, _, errors = main("convert", NAME)
    assert (status, errors) == (0, "")
    ranges = [request.range for request in hub.asked(WEIGHTS)]
    assert ranges == [None, "bytes=65536-", "bytes=262144-"]
    assert left(home) == [f"{MODEL}.gguf"]


# ---- downloads that fail ------------------------------------------------------------------------


def test_a_connection_that_is_lost(main: Main, hub: Hub, home: Path) -> None:
    """After some attempts without a byte; the next run takes what was complete from the cache."""
    hub.cuts[WEIGHTS] = [0] * 100
    done = main("convert", NAME)
    one_line(done, 1, f"{NAME}: the download broke off .*run the command again")
    assert left(home) == []
    hub.cuts.clear()
    hub.requests.clear()
    assert main("convert", NAME)[0] == 0
    assert hub.asked("tekken.json") == []


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_downloading(number: int, main: Main, hub: Hub, home: Path) -> None:
    hub.on_part = lambda file: file == WEIGHTS and os.kill(os.getpid(), number)
    assert main("convert", NAME, "--quiet") == (128 + number, "", "")
    assert left(home) == []


@pytest.mark.parametrize("file", [WEIGHTS, "tekken.json", "params.json"])
def test_a_wrong_hash(file: str, main: Main, hub: Hub, home: Path) -> None:
    """The size is right; the file is removed from the cache, so that the next run mends it."""
    spoil(hub, NAME, file)
    one_line(main("convert", NAME), 2, f"{file} is not what the hub has published.*command again")
    assert left(home) == []
    hub.served.clear()
    assert main("convert", NAME)[0] == 0
    assert len(hub.asked(file)) == 2


def test_a_wrong_hash_of_one_of_several_files(main: Main, hub: Hub, tmp_path: Path) -> None:
    hub.add("someone/hf", tiny_model.write_transformers(tmp_path / "hf", seed=3, n_shards=2))
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    spoil(hub, "someone/hf", second)
    one_line(main("convert", "someone/hf"), 2, f"{second} is not what the hub has published")
    hub.served.clear()
    assert main("convert", "someone/hf")[0] == 0
    assert len(hub.asked(first)) == 1


def spoil(hub: Hub, name: str, file: str) -> None:
    """Let the hub send a file with one wrong bit."""
    data = bytearray(hub.repositories[name][file])
    data[-1] ^= 1
    hub.served[file] = bytes(data)


def test_a_wrong_size(main: Main, hub: Hub, home: Path) -> None:
    hub.served[WEIGHTS] = hub.repositories[NAME][WEIGHTS][:-100]
    one_line(main("convert", NAME), 1, "the download broke off .*size")
    assert left(home) == []


def test_a_full_disk(main: Main, hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed before the download, or by the system later."""
    with monkeypatch.context() as patch:
        usage = namedtuple("usage", "total used free")(9, 9, 1000)
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        one_line(main("convert", NAME), 1, r"GB of someone/.* do not fit.*make room")
    assert hub.asked(WEIGHTS) == []
    with little_space(500_000):
        one_line(main("convert", NAME), 1, r"cannot write it \(File too large\)")
    assert left(home) == []
    assert main("convert", NAME)[0] == 0
    with little_space(500_000):
        one_line(main("convert", NAME, "--type", "f32"), 1, "cannot write to .*-f32.gguf")
    assert left(home) == [f"{MODEL}.gguf"]


def test_repositories_that_cannot_be_used(
    main: Main, hub: Hub, home: Path, checkpoint: Path
) -> None:
    one_line(main("convert", "someone/nothing"), 2, "neither a folder nor a repository")
    one_line(main("convert", "no-organisation"), 2, "is not a folder: name the folder")
    one_line(main("convert", "some--one/x..y"), 2, "no folder, and no name on the hub")
    hub.gated.add(NAME)
    one_line(main("convert", NAME), 2, f"{NAME} is gated: accept its terms.*log in")
    hub.gated.clear()
    hub.repositories["someone/pictures"] = {"picture.png": b"x"}
    one_line(main("convert", "someone/pictures"), 2, "holds no checkpoint of Voxtral Realtime")
    hub.add("someone/other", checkpoint)
    hub.repositories["someone/other"]["params.json"] = b'{"dim": 4096}'
    one_line(main("convert", "someone/other"), 2, r"params\.json")
    assert hub.asked(WEIGHTS) == []
    hub.status = 503
    one_line(main("convert", "someone/other"), 1, "the hub answers with status 503")
    assert left(home) == []


# ---- stored models ------------------------------------------------------------------------------


def test_list_verify_and_remove(main: Main, home: Path) -> None:
    assert main("convert", NAME, "--quiet") == (0, "", "")
    line = rf"{MODEL}  q4_k_m  0\.\d MB  \d{{4}}-\d\d-\d\d  {NAME}@{COMMIT}\n"
    status, out, errors = main("models")
    assert (status, errors) == (0, "") and re.fullmatch(line, out)
    (path,) = models.folder().glob("*.gguf")
    for name in (MODEL, "tiny", NAME, f"{MODEL}.gguf"):
        assert models.find(name) == path
    assert main("inspect", "tiny")[0] == 0
    status, out, _ = main("models", "verify", "tiny")
    assert status == 0 and re.fullmatch(rf"{MODEL}: whole, SHA-256 [0-9a-f]{{64}}\n", out)
    one_line(main("models", "remove", "tiny"), 2, f"not the whole name: {MODEL} is")
    assert main("models", "remove", MODEL)[0] == 0
    assert list(path.parent.iterdir()) == []


def test_damage_is_found(main: Main, checkpoint: Path) -> None:
    assert main("convert", checkpoint, "--quiet") == (0, "", "")
    (path,) = models.folder().glob("*.gguf")
    assert json.loads(path.with_suffix(".json").read_text())["source"] == str(checkpoint)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    one_line(main("models", "verify", "official"), 2, "is damaged .*: convert it again")
    path.with_suffix(".json").unlink()
    one_line(main("models", "verify", "official"), 2, "has no recorded hash: convert it again")


def test_names(main: Main, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, errors = main("models")
    assert (status, out) == (0, "")
    assert re.fullmatch(r"voxtral: no models yet: voxtral convert \S+ makes one\n", errors)
    with pytest.raises(vox.ModelNotFound, match=r"^there is no model file x: check the path"):
        models.find("x")
    store = models.folder()
    store.mkdir(parents=True)
    for name in ("one", "one-more", "other"):
        (store / f"{name}.gguf").symlink_to(tiny_path)
    (store / "broken.gguf").write_bytes(b"x")
    (store / ".x.gguf.part").write_bytes(b"x")
    assert {(model.name, model.type) for model in models.stored()} == {
        ("broken", None), ("one", "f32"), ("one-more", "f32"), ("other", "f32"),
    }  # fmt: skip
    assert models.find("one").name == "one.gguf"
    assert models.find("ONE-").name == "one-more.gguf"
    with pytest.raises(vox.ModelNotFound, match="on may be each of one, one-more: name one"):
        models.find("on")
    with pytest.raises(vox.ModelNotFound, match=r"no stored model of that name \(there are broken"):
        models.find("nothing")
    monkeypatch.chdir(store)
    assert models.find("other.gguf") == Path("other.gguf")
    (store / "other").mkdir()  # no model, whatever it is
    assert models.find("other") == store / "other.gguf"
