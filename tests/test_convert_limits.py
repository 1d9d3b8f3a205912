"""What is wrong in a checkpoint is told before anything is written, for every value of every key.

The limits of the converter are those of the core: each is tried on a file, at it and beyond it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from gguf import GGUFValueType
from voxtral_edge.convert import Checkpoint, ConversionError, GgufFile, convert
from voxtral_edge.convert.convert_voxtral import main
from voxtral_edge.convert.reading import limits
from voxtral_edge.convert.reading.limits import Limit

N_VOCAB = tiny_model.PRESETS["micro"].n_vocab
TOKEN = limits.token(N_VOCAB)

# Every whole number of a file that the core reads, and what the converter lets into it.
LIMITS: dict[str, Limit] = {
    **{
        f"voxtral_edge.{part}.{name}": limit
        for part in ("encoder", "decoder")
        for name, limit in limits.STACK.items()
    },
    "voxtral_edge.decoder.n_kv_heads": limits.N_KV_HEADS,
    "voxtral_edge.decoder.ada_dim": limits.ADA_DIM,
    "voxtral_edge.decoder.n_vocab": limits.N_VOCAB,
    "voxtral_edge.stream.n_left_pad": limits.N_LEFT_PAD,
    "voxtral_edge.stream.n_right_pad_extra": limits.N_RIGHT_PAD_EXTRA,
    "voxtral_edge.stream.default_delay_ms": limits.DEFAULT_DELAY_MS,
    **{
        f"tokenizer.voxtral_edge.{name}": TOKEN
        for name in ("n_special", "bos", "eos", "streaming_pad", "streaming_word")
    },
    # What the architecture fixes.
    "voxtral_edge.format_version": Limit(1, 2),
    "voxtral_edge.adapter.downsample_factor": Limit(4, 4),
    "voxtral_edge.audio.sampling_rate": Limit(16000, 16000),
    "voxtral_edge.audio.n_mel": Limit(128, 128),
    "voxtral_edge.audio.hop_length": Limit(160, 160),
    "voxtral_edge.audio.window_length": Limit(400, 400),
}
NUMBERS = [
    f"voxtral_edge.{part}.{name}"
    for part in ("encoder", "decoder")
    for name in ("rope_theta", "norm_eps")
]


def patched(path: Path, key: str, kind: str, value: float, target: Path) -> Path:
    """Copy a GGUF file with one number of its metadata replaced."""
    data = bytearray(path.read_bytes())
    name = struct.pack("<Q", len(key)) + key.encode()
    at = data.index(name) + len(name) + 4
    struct.pack_into(kind, data, at, value)
    target.write_bytes(data)
    return target


def told(path: Path) -> str:
    """What the core says of a file, nothing if it opens."""
    try:
        vox.Model(path).close()
    except vox.ModelFormatError as error:
        return str(error)
    return ""


def test_limits_are_all_there(tiny_path: Path) -> None:
    with GgufFile(tiny_path) as file:
        numbers = {
            key: value.value
            for key, value in file.metadata.items()
            if value.type == GGUFValueType.UINT32 and not key.startswith("general.")
        }
    assert numbers.keys() == LIMITS.keys()
    assert all(LIMITS[key].low <= value <= LIMITS[key].high for key, value in numbers.items())


@pytest.mark.parametrize("key", LIMITS)
def test_limits_are_those_of_the_core(key: str, tiny_path: Path, tmp_path: Path) -> None:
    low, high = LIMITS[key]
    words = "format version" if key.endswith("format_version") else f"key {key} is "
    for value in (low - 1, low, high, high + 1):
        if not 0 <= value < 2**32:
            continue
        said = told(patched(tiny_path, key, "<I", value, tmp_path / "m.gguf"))
        assert (words in said) == (not low <= value <= high), (value, said)


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_are_positive(key: str, tiny_path: Path, tmp_path: Path) -> None:
    for value in (0.0, -1.0, math.inf, math.nan):
        said = told(patched(tiny_path, key, "<f", value, tmp_path / "m.gguf"))
        assert f"key {key} is not positive" in said
    for value in (1e-45, 3e38):
        assert told(patched(tiny_path, key, "<f", value, tmp_path / "m.gguf")) == ""


# ---- every value of every key --------------------------------------------------------------------

ODD: list[object] = [
    *(
        -1,
        0,
        1,
        2,
        3,
        31,
        1024,
        1025,
        2**16 + 1,
        2**20 + 1,
        2**24 + 1,
        2**31,
        2**32,
        2**40,
        10**400,
    ),
    *(0.5, 1e300, 1e-300, 1e-320, math.inf, -math.inf, math.nan, True, False, None),
    *("", "x", "7", "9" * 5000, "\ud800", "\u0663", [], [1], {}, {"a": 1}),
]


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in a JSON value, of long lists the first and the last."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list) and value:
        for i in {0, len(value) - 1}:
            yield from places(value[i], (*path, i))


def replace(value: Any, path: tuple[object, ...], odd: object) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = odd


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "official": tiny_model.write_official(tmp_path_factory.mktemp("official")),
        "transformers": tiny_model.write_transformers(tmp_path_factory.mktemp("transformers")),
    }


@pytest.mark.parametrize(
    ("layout", "name"),
    [("official", "params.json"), ("official", "tekken.json"), ("transformers", "config.json")],
)
def test_any_value_of_any_key(
    layout: str, name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """It is refused in one line, or it is of no account, or the file that comes of it opens."""
    folder = Path(shutil.copytree(checkpoints[layout], tmp_path / "checkpoint"))
    text = (folder / name).read_text()
    with Checkpoint(folder) as source:
        as_it_was = (source.params, source.vocabulary)
    found = set()
    for path in places(json.loads(text)):
        for odd in ODD:
            values = json.loads(text)
            replace(values, path, odd)
            (folder / name).write_text(json.dumps(values))
            try:
                with Checkpoint(folder) as source:
                    if (source.params, source.vocabulary) == as_it_was:
                        found.add("ignored")
                        continue
            except ConversionError as error:
                found.add("refused")
                assert str(error).startswith(f"{folder}") and "\n" not in str(error)
                assert len(str(error)) < 400
                continue
            convert(folder, tmp_path / "m.gguf", type="f32")
            assert told(tmp_path / "m.gguf") == "", (path, odd)
            found.add("converted")
    assert found == {"ignored", "refused", "converted"}


def test_the_limits_are_reached(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """What the core allows is converted, and works."""
    folder = Path(shutil.copytree(checkpoints["official"], tmp_path / "checkpoint"))
    params = json.loads((folder / "params.json").read_text())
    tekken = json.loads((folder / "tekken.json").read_text())
    params["sliding_window"] = limits.STACK["window"].high
    params["norm_eps"] = 1e-44
    tekken["audio"]["streaming_n_left_pad_tokens"] = limits.N_LEFT_PAD.high
    (folder / "params.json").write_text(json.dumps(params))
    (folder / "tekken.json").write_text(json.dumps(tekken))
    convert(folder, tmp_path / "m.gguf")
    with vox.Model(tmp_path / "m.gguf") as model:
        model.transcribe(np.zeros(1600, np.float32))


ENCODER = ("multimodal", "whisper_model_args", "encoder_args")


@pytest.mark.parametrize(
    ("name", "path", "value", "pattern"),
    [
        ("params.json", ("n_layers",), 10**7, "n_layers is 10000000, not a whole number from 1 to"),
        ("params.json", ("norm_eps",), 10**400, r"norm_eps is 1000.*\.\.\..*, not a positive numb"),
        ("params.json", ("rope_theta",), 1e-320, "rope_theta is 1e-320, not a positive number"),
        ("params.json", (*ENCODER, "n_kv_heads"), 2, "n_kv_heads is 2, not 4, as many as heads"),
        ("params.json", ("dim",), 97, "dim is 97: the embedding of the delay needs halves"),
        ("params.json", ("sliding_window",), 2**31, "sliding_window is 2147483648, not one whole"),
        ("tekken.json", ("vocab", 5, "token_bytes"), "\u00e9", r"\[5\].token_bytes is not base64"),
        ("tekken.json", ("special_tokens", 5, "token_str"), "\ud800", "is '.ud800', half of a"),
        ("tekken.json", ("special_tokens", 5, "rank"), -1, "rank is -1, but there are 1000"),
        ("tekken.json", ("config", "default_num_special_tokens"), 1400, "from 0 to 1399"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(
    name: str,
    path: tuple[object, ...],
    value: object,
    pattern: str,
    checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(checkpoints["official"], tmp_path / "checkpoint"))
    values = json.loads((folder / name).read_text())
    replace(values, path, value)
    (folder / name).write_text(json.dumps(values))
    with pytest.raises(ConversionError, match=pattern):
        convert(folder, tmp_path / "m.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_names_of_others_do_not_break_the_line(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["transformers"], tmp_path / "checkpoint"))
    index = {"weight_map": {"a": "two\nlines"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConversionError, match=r"two\\nlines is missing"):
        Checkpoint(folder)
    folder = Path(shutil.copytree(checkpoints["official"], tmp_path / "other"))
    header = json.dumps({"a\nb": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (folder / "consolidated.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ConversionError, match=r"tensor a\\nb is unknown"):
        Checkpoint(folder)


# ---- files that are none -------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def digits(path: Path) -> None:
    path.write_text('{"dim": ' + "9" * 10_000 + "}")


@pytest.mark.parametrize("make", [fifo, folder, device, loop, deep, digits])
@pytest.mark.parametrize("name", ["params.json", "tekken.json", "consolidated.safetensors"])
def test_no_file_at_all(
    make: Callable[[Path], None],
    name: str,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = Path(shutil.copytree(checkpoints["official"], tmp_path / "checkpoint"))
    (source / name).unlink()
    make(source / name)
    assert main([str(source), str(tmp_path / "m.gguf")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("voxtral: ") and errors.count("\n") == 1
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("option", ["--name", "--description", "--license"])
def test_words_that_are_no_text(
    option: str, checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "m.gguf"
    assert main([str(checkpoints["official"]), str(target), option, "\udcff"]) == 2
    assert capsys.readouterr().err == (
        f"voxtral: the {option[2:]} '\\udcff' is no UTF-8: write it anew\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [b"\0\0\0\0", b"\1\0\0\0"])
def test_alignment_of_a_file_to_be_described(value: bytes, tmp_path: Path) -> None:
    key = b"general.alignment"
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
    path = tmp_path / "m.gguf"
    path.write_bytes(header + struct.pack("<I", GGUFValueType.UINT32) + value)
    if value[0]:
        GgufFile(path).close()
    else:
        with pytest.raises(ConversionError, match="not a whole GGUF file"):
            GgufFile(path)
