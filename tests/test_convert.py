"""The converter: both layouts, every type, every refusal, and files that are whole or not there.

Files are read back with the gguf package's reader, which shares no code with ours, and compared
with the arrays from which tests/tiny_model.py made the checkpoint.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from core import official_name, official_tensors
from voxtral_edge._voxtral import lib
from voxtral_edge.convert import (
    FILE_TYPES,
    Checkpoint,
    ConversionError,
    GgufFile,
    conversion,
    convert,
    verify,
)
from voxtral_edge.convert.convert_voxtral import main
from voxtral_edge.convert.reading import checkpoint
from voxtral_edge.convert.reading import tensors as table
from voxtral_edge.convert.reading.params import PUBLISHED
from voxtral_edge.convert.reading.safetensors_file import SafetensorsFile
from voxtral_edge.convert.verification import Deviation
from voxtral_edge.convert.writing.gguf_file import write_header
from voxtral_edge.convert.writing.quantize import (
    BOUNDS,
    Type,
    error_limits,
    pack,
    packed_size,
    unpack,
)
from voxtral_edge.machine.inspect import inspect

ROOT = Path(__file__).parents[1]
TYPES = ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")
Folders = Callable[..., Path]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_official(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_transformers(tmp_path_factory.mktemp("transformers"))


@pytest.fixture(scope="module")
def kquant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight encoder layers, so that mixed types differ between them."""
    folder = tmp_path_factory.mktemp("kquant")
    return tiny_model.write_official(folder, preset="kquant", enc_n_layers=8)


@pytest.fixture
def copy(official: Path, transformers: Path, tmp_path: Path) -> Folders:
    """A copy of a checkpoint that a test may spoil."""

    def copy(layout: str = "official") -> Path:
        source = official if layout == "official" else transformers
        return Path(shutil.copytree(source, tmp_path / layout))

    return copy


def read(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape in torch order, and bytes of each tensor."""
    with GgufFile(path) as file:
        return {
            name: (info.type, info.shape, file.read(info.offset, info.n_bytes))
            for name, info in file.tensors.items()
        }


def edit(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@functools.cache
def micro_weights() -> dict[str, np.ndarray]:
    return tiny_model.random_tensors(tiny_model.params_json(tiny_model.PRESETS["micro"]), seed=0)


def weights() -> dict[str, np.ndarray]:
    """The tensors of `official`, which a test may spoil."""
    return {name: values.copy() for name, values in micro_weights().items()}


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], kind: str) -> None:
    """Write tensors as F16 or F32, which tiny_model does not."""
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.astype("<f2" if kind == "F16" else "<f4").tobytes()
        offsets = [offset, offset + len(blob)]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


# ---- layouts -------------------------------------------------------------------------------------


def test_f32_file_holds_the_source_exactly(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf", type="f32")
    source, found = weights(), official_tensors(tmp_path / "m.gguf")
    assert found.keys() == source.keys()
    for name, values in source.items():
        assert np.array_equal(found[name], values), name


def test_convolution_columns_are_tap_then_channel(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf", type="f32")
    with_taps = weights()[tiny_model.ENCODER + "conv_layers.1.conv.weight"]
    rows = next(t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if "conv2.w" in t.name)
    assert rows.data[5, 2 * 64 + 7] == with_taps[5, 7, 2]


def in_memory_names(folder: Path) -> None:
    """Rename the tensors to what transformers calls them in memory."""
    raw = (folder / "model.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])

    def rename(name: str) -> str:
        name = name.replace("language_model.model.", "language_model.")
        return name if name == "__metadata__" else "model." + name

    text = json.dumps({rename(name): entry for name, entry in header.items()}).encode()
    (folder / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + raw[8 + n :]
    )


def old_theta(folder: Path) -> None:
    def change(config: dict) -> None:
        for part in ("audio_config", "text_config"):
            config[part]["rope_theta"] = config[part].pop("rope_parameters")["rope_theta"]

    edit(folder / "config.json", change)


def digits_window(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["audio_config"].update(sliding_window="24"))


def no_encoder_kv_heads(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["audio_config"].pop("num_key_value_heads"))


VARIANTS = {
    "one file": (1, lambda folder: None),
    "index": (3, lambda folder: None),
    "shards without index": (3, lambda folder: (folder / checkpoint.INDEX).unlink()),
    "names in memory": (1, in_memory_names),
    "old rope_theta": (1, old_theta),
    "window as digits": (1, digits_window),
    "encoder without key heads": (1, no_encoder_kv_heads),
}


@pytest.mark.parametrize(
    ("variant", "slice_bytes"),
    [*((variant, 1 << 22) for variant in VARIANTS), ("one file", 1), ("index", 5000)],
)
def test_layouts_give_the_same_tensors(
    variant: str, slice_bytes: int, official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_shards, change = VARIANTS[variant]
    folder = tiny_model.write_transformers(tmp_path / "hf", n_shards=n_shards)
    change(folder)
    convert(official, tmp_path / "a.gguf", type="q4_0")
    monkeypatch.setattr(checkpoint, "SLICE_BYTES", slice_bytes)
    convert(folder, tmp_path / "b.gguf", type="q4_0")
    assert list(read(tmp_path / "a.gguf").items()) == list(read(tmp_path / "b.gguf").items())
    with GgufFile(tmp_path / "a.gguf") as a, GgufFile(tmp_path / "b.gguf") as b:
        differ = {k for k in a.metadata | b.metadata if not same(a, b, k)}
    assert differ == {"voxtral_edge.source.layout", "voxtral_edge.source.sha256"}


def same(a: GgufFile, b: GgufFile, key: str) -> bool:
    return bool(np.array_equal(a.metadata[key].value, b.metadata[key].value))


def test_official_layout_wins(official: Path, transformers: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(official, tmp_path / "both"))
    for file in transformers.iterdir():
        shutil.copy(file, both)
    with Checkpoint(both) as source:
        assert source.layout == "official"


def test_window_as_digits_in_params(copy: Folders) -> None:
    folder = copy()
    edit(folder / "params.json", lambda p: p.update(sliding_window="56"))
    with Checkpoint(folder) as source:
        assert source.params.decoder.window == 56


def test_deviations_are_shares_of_their_limits() -> None:
    found = Deviation()
    found.add(np.float32([[0.25, 0.5], [0, 0.125]]), np.float32([[1], [0.0625]]))
    found.add(np.float32([[0, 0]]), np.float32([[0]]))  # of values that are kept as they are
    assert (found.n, found.max_error, found.limit_share) == (6, 0.5, 2)
    assert found.rms_error == pytest.approx(math.sqrt((0.0625 + 0.25 + 0.015625) / 6))


@pytest.mark.parametrize("window", [1, "1", 1 << 20])
def test_windows_at_their_limits(window: object, copy: Folders) -> None:
    folder = copy()
    edit(folder / "params.json", lambda p: p.update(sliding_window=window))
    with Checkpoint(folder) as source:
        assert source.params.decoder.window == int(str(window))


def test_safetensors_of_every_type(tmp_path: Path) -> None:
    """Tensors that are no weights are passed over by their size; a file may hold none."""
    import safetensors.numpy

    kinds = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]
    arrays = {kind: np.ones((3, 5), kind) for kind in kinds}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    with SafetensorsFile(tmp_path / "a.safetensors") as file:
        assert {name: info.n_bytes for name, info in file.tensors.items()} == {
            name: array.nbytes for name, array in arrays.items()
        }
    (tmp_path / "none.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with SafetensorsFile(tmp_path / "none.safetensors") as file:
        assert file.tensors == {}
    with pytest.raises(ConversionError, match="nothing: No such file"):
        SafetensorsFile(tmp_path / "nothing")


def test_sizes_of_the_published_model() -> None:
    """They are those of docs/model.md."""
    text = (ROOT / "docs" / "model.md").read_text()
    lines = text[text.index("| layers | ") :].splitlines()[:8]
    rows = [[cell.replace(" ", "") for cell in line.split("|")[2:4]] for line in lines]
    for i, stack in enumerate((PUBLISHED.encoder, PUBLISHED.decoder)):
        layers, dim, heads, kv_heads, hidden, window, theta, eps = (row[i] for row in rows)
        assert (stack.n_layers, stack.dim, stack.hidden_dim) == (int(layers), int(dim), int(hidden))
        assert f"{stack.n_heads}x{stack.head_dim}" == heads
        assert stack.n_kv_heads == int(kv_heads)
        assert window.startswith((f"{stack.window}frames", f"{stack.window}slots"))
        assert (stack.rope_theta, stack.norm_eps) == (float(theta), float(eps))
    assert f"has {PUBLISHED.n_vocab:,} tokens".replace(",", " ") in text
    assert f"D [{PUBLISHED.ada_dim}, {PUBLISHED.decoder.dim}]" in text


@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_source_types(kind: str, copy: Folders, tmp_path: Path) -> None:
    folder = copy()
    source = {name: values.astype(np.float16) for name, values in weights().items()}
    write_safetensors(folder / "consolidated.safetensors", source, kind)
    convert(folder, tmp_path / "m.gguf", type="f32")
    verify(folder, tmp_path / "m.gguf")
    for name, values in official_tensors(tmp_path / "m.gguf").items():
        assert np.array_equal(values, source[name].astype(np.float32)), name


# ---- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_name", ["official", "kquant"])
@pytest.mark.parametrize("name", TYPES)
def test_types_convert_verify_and_open(
    name: str, checkpoint_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(checkpoint_name)
    path = tmp_path / "m.gguf"
    summary = convert(folder, path, type=name)
    found = verify(folder, path)
    assert sum(kind.n for kind in found.values()) == summary.n_params
    assert all(kind.limit_share <= 1 for kind in found.values())
    assert summary.n_bytes == path.stat().st_size
    with vox.Model(path) as model:
        assert model.file_type == name


PACKED = r"blk\.\d+\.(attn_(q|k|v|out)|ffn_(gate|up|down))\.weight|adapter\.[12]\.weight|dec\.embed"


@pytest.mark.parametrize(
    ("name", "most", "finer"),
    [
        ("f16", "F16", "F16"),
        ("bf16", "BF16", "BF16"),
        ("q8_0", "Q8_0", "Q8_0"),
        ("q6_k", "Q6_K", "Q6_K"),
        ("q5_k_m", "Q5_K", "Q6_K"),
        ("q4_k_m", "Q4_K", "Q6_K"),
        ("q4_0", "Q4_0", "Q4_0"),
    ],
)
def test_each_tensor_has_its_type(
    name: str, most: str, finer: str, kquant: Path, tmp_path: Path
) -> None:
    convert(kquant, tmp_path / "m.gguf", type=name)
    fine = {"dec.embed.weight"}
    for part in ("attn_v", "ffn_down"):
        fine |= {f"enc.blk.{i}.{part}.weight" for i in (0, 3, 6, 7)}  # of 8 layers
        fine |= {f"dec.blk.1.{part}.weight"}  # of 2
    for tensor, (kind, _, _) in read(tmp_path / "m.gguf").items():
        packed = re.search(PACKED, tensor)
        assert kind == ("F32" if not packed else finer if tensor in fine else most), tensor


@pytest.mark.parametrize(
    ("name", "of_32", "of_16"),
    [
        ("q8_0", "Q8_0", "F16"),
        ("q4_0", "Q4_0", "F16"),
        ("q6_k", "Q8_0", "F16"),
        ("q5_k_m", "Q8_0", "F16"),
        ("q4_k_m", "Q8_0", "F16"),
        ("bf16", "BF16", "BF16"),
    ],
)
def test_fallback(name: str, of_32: str, of_16: str, tmp_path: Path) -> None:
    folder = tiny_model.write_official(tmp_path / "c", enc_hidden_dim=80)
    convert(folder, tmp_path / "m.gguf", type=name)
    found = read(tmp_path / "m.gguf")
    assert found["enc.blk.0.ffn_up.weight"][:2] == (of_32, (80, 64))
    assert found["enc.blk.0.ffn_down.weight"][:2] == (of_16, (64, 80))
    verify(folder, tmp_path / "m.gguf")


def test_sizes_are_those_of_ggml() -> None:
    for kind in BOUNDS:
        assert packed_size(kind, 1024) == lib.vox_packed_size(int(kind), 1024)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Type.BF16, 1 + 2**-8, 1.0),  # halfway: to even, down
        (Type.BF16, 1 + 3 * 2**-8, 1 + 2**-6),  # halfway: to even, up
        (Type.BF16, 1 + 2**-8 + 2**-20, 1 + 2**-7),
        (Type.BF16, -1e-39, -9.98992e-40),  # subnormal
        (Type.F16, 1 + 2**-11, 1.0),
        (Type.F16, 1 + 3 * 2**-11, 1 + 2**-9),
        (Type.F16, 65504.0, 65504.0),
    ],
)
def test_rounding(kind: Type, value: float, expected: float) -> None:
    packed = pack(np.full((1, 32), value, np.float32), kind)
    assert unpack(packed.tobytes(), kind, 32) == pytest.approx([expected] * 32, rel=1e-5)


def hard_blocks() -> np.ndarray:
    """Rows of 256 values that are awkward for some grid: [n, 256]."""
    rng, n = np.random.default_rng(5), 60
    outlier = 0.05 * rng.standard_normal((n, 256))
    outlier[:, 17] = rng.choice([-1, 1], n)
    families = [
        rng.standard_normal((n, 256)),
        rng.uniform(-1, 1, (n, 256)),
        1 + 0.1 * rng.uniform(0, 1, (n, 256)),
        -1 - 0.1 * rng.uniform(0, 1, (n, 256)),
        np.clip(rng.standard_cauchy((n, 256)), -1e3, 1e3),
        rng.standard_normal((n, 256)) * (rng.random((n, 256)) < 0.03),
        np.repeat(np.exp(3 * rng.standard_normal((n, 8))), 32, 1) * rng.standard_normal((n, 256)),
        rng.integers(-8, 9, (n, 256)).astype(float),
        outlier,
        np.zeros((n, 256)),
    ]
    return np.concatenate([s * f for f in families for s in (1e-8, 1e-3, 0.02, 1, 50)])


@pytest.mark.parametrize("kind", BOUNDS)
def test_error_limits_hold(kind: Type) -> None:
    values = np.ascontiguousarray(hard_blocks().clip(-6e4, 6e4), np.float32)
    limits = error_limits(values, kind)
    found = unpack(pack(values, kind).tobytes(), kind, values.size)
    errors = np.abs(found - values.ravel()).reshape(len(limits), -1)
    assert (errors <= limits).all()
    if kind != Type.F32:
        assert (errors / limits).max() > 0.25  # and they are not idle


# ---- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["official", "transformers"])
def test_same_bytes_anywhere_at_any_time(
    layout: str, tmp_path: Path, run_python: Callable[..., tuple[str, ...]]
) -> None:
    """Of the threads, the folder, the day, the locale and the hash seed nothing is in the file."""
    here, there = tmp_path / layout, tmp_path / "elsewhere" / "model"
    if layout == "official":
        tiny_model.write_official(here)
    else:
        tiny_model.write_transformers(here, n_shards=3)
    there.mkdir(parents=True)
    for i, file in enumerate(sorted(here.iterdir(), reverse=True)):
        shutil.copyfile(file, there / file.name)
        os.utime(there / file.name, (10**9 - i, 10**9 - i))
    code = f"""
import locale, os, sys
from voxtral_edge.convert.convert_voxtral import main
locale.setlocale(locale.LC_ALL, "")
common = sys.argv[1:] + ["--quiet", "--name", "Caf\\u00e9"]
for kind in {TYPES}:
    assert not main([*common, kind + ".gguf", "--type", kind])
assert not main([*common, "default.gguf"])
assert not main([*common, "decoder.gguf", "--decoder-only"])
"""
    places = [
        # The day is another one on the two sides of the date line.
        (here.parent, layout, "1", {
            "PYTHONHASHSEED": "0", "TZ": "AAA-14", "LC_ALL": "C", "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0", "USER": "a",
        }),
        (there.parent, str(there), "5", {
            "PYTHONHASHSEED": "1", "TZ": "BBB12", "LC_ALL": "C.UTF-8", "USER": "b",
        }),
    ]  # fmt: skip
    for folder, model, threads, env in places:
        done = subprocess.run(
            run_python("-c", code, model, "--threads", threads),
            cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, other = ({f.name: f.read_bytes() for f in p[0].glob("*.gguf")} for p in places)
    assert len(one) == len(TYPES) + 2
    assert [name for name in one if one[name] != other[name]] == []
    assert one["default.gguf"] == one["q4_k_m.gguf"]


@pytest.mark.parametrize("kind", [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0])
def test_packing_again_changes_nothing(kind: Type) -> None:
    """What was unpacked, as by another program, loses nothing more."""
    values = np.ascontiguousarray(hard_blocks().clip(-6e4, 6e4), np.float32)
    once = unpack(pack(values, kind).tobytes(), kind, values.size)
    again = unpack(pack(once.reshape(values.shape), kind).tobytes(), kind, values.size)
    assert np.array_equal(once, again)


def test_gguf_package_reads_the_metadata(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf", name="Tiny", description="noise", license="mit")
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["general.name"].contents() == "Tiny"
    assert fields["general.description"].contents() == "noise"
    assert fields["general.license"].contents() == "mit"
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q4_K_M
    with GgufFile(tmp_path / "m.gguf") as ours:
        for key, entry in ours.metadata.items():
            assert np.array_equal(fields[key].contents(), entry.value), key
        assert len(ours.metadata) == sum(not key.startswith("GGUF.") for key in fields)


def test_tokenizer_is_lossless(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf")
    with GgufFile(tmp_path / "m.gguf") as file:
        keys = {
            k.removeprefix("tokenizer.voxtral_edge."): v.value for k, v in file.metadata.items()
        }
    offsets, data = keys["offsets"], keys["bytes"].tobytes()
    tokens = [data[a:b] for a, b in itertools.pairwise(offsets)]
    assert tokens[1000:] == tiny_model.text_tokens(400)
    assert [tokens[i] for i in (0, 1, 33, 999)] == [b"<unk>", b"<s>", b"[STREAMING_WORD]",
                                                    b"<SPECIAL_999>"]  # fmt: skip
    special = [keys[k] for k in ("n_special", "bos", "eos", "streaming_pad", "streaming_word")]
    assert special == [1000, 1, 2, 32, 33]


def test_special_tokens_are_found_by_name(copy: Folders, tmp_path: Path) -> None:
    folder = copy()

    def move(tekken: dict) -> None:
        tekken["special_tokens"] = [
            {"rank": 40, "token_str": "[STREAMING_PAD]"},
            {"rank": 7, "token_str": "<s>"},
            {"rank": 8, "token_str": "</s>"},
            {"rank": 999, "token_str": "[STREAMING_WORD]"},
        ]

    edit(folder / "tekken.json", move)
    with Checkpoint(folder) as source:
        found = source.vocabulary
    assert (found.streaming_pad, found.bos, found.eos, found.streaming_word) == (40, 7, 8, 999)


def test_sha256_is_that_of_the_weight_files(official: Path, tmp_path: Path) -> None:
    hf = tiny_model.write_transformers(tmp_path / "hf", n_shards=3)
    for folder in (official, hf):
        convert(folder, tmp_path / "m.gguf")
        files = sorted(folder.glob("*.safetensors"))
        expected = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        with GgufFile(tmp_path / "m.gguf") as file:
            assert file.metadata["voxtral_edge.source.sha256"].value == expected


class Spy:
    """Checks that a failed conversion leaves the folder as it was."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.target = folder / "m.gguf"
        self.target.write_bytes(b"GGUF, an old model")

    def check(self) -> None:
        assert list(self.target.parent.iterdir()) == [self.target]
        assert self.target.read_bytes() == b"GGUF, an old model"


@pytest.fixture
def spy(tmp_path: Path) -> Spy:
    return Spy(tmp_path / "target")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_interruption_keeps_the_old_file(
    error: type[BaseException], official: Path, spy: Spy
) -> None:
    calls = []

    def interrupt(name: str, n_bytes: int) -> None:
        calls.append(name)
        if len(calls) == 20:
            raise error

    with pytest.raises(error):
        convert(official, spy.target, progress=interrupt)
    spy.check()


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_signals_keep_the_old_file(
    number: str, status: int, official: Path, spy: Spy, run_python: Callable[..., tuple[str, ...]]
) -> None:
    code = f"""
import os, signal, sys, time
from voxtral_edge.convert import conversion, convert_voxtral
write = conversion.write_all
def signalled(*args):
    os.kill(os.getpid(), signal.{number})
    write(*args)
conversion.write_all = signalled
sys.exit(convert_voxtral.main([{str(official)!r}, {str(spy.target)!r}]))
"""
    done = subprocess.run(run_python("-c", code), capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    spy.check()


def test_full_disk_is_noticed_before_the_work(
    official: Path, spy: Spy, run_python: Callable[..., tuple[str, ...]]
) -> None:
    """A limit on the size of files is refused by the system where a full disk would be."""
    resource = pytest.importorskip("resource", reason="no limits on files here")
    command = run_python("-m", "voxtral_edge.convert.convert_voxtral", str(official),
                         str(spy.target))  # fmt: skip

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limit)
    assert done.returncode == 1
    assert f"cannot write to {spy.target}: " in done.stderr
    assert done.stderr.count("\n") == 1
    spy.check()


@pytest.mark.parametrize("function", ["pwrite", "posix_fallocate", "fsync"])
def test_full_disk_keeps_the_old_file(
    function: str,
    official: Path,
    spy: Spy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion.os, function, full)
    assert main([str(official), str(spy.target)]) == 1
    expected = f"voxtral: cannot write to {spy.target}: No space left on device\n"
    assert capsys.readouterr().err == expected
    spy.check()


def test_new_file_has_the_usual_permissions(official: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    convert(official, tmp_path / "m.gguf")
    assert (tmp_path / "m.gguf").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---- verification --------------------------------------------------------------------------------


def flip_bits(folder: Path, path: Path, names: list[str]) -> None:
    """Verify with one bit of one tensor flipped, for each tensor in turn."""
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    with GgufFile(path) as file:
        tensors = file.tensors
    for name in names:
        damaged, info = bytearray(whole), tensors[name]
        damaged[info.offset + int(rng.integers(info.n_bytes))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ConversionError, match=re.escape(f"tensor {name} is")):
            verify(folder, path)


def test_verify_finds_one_wrong_bit_in_any_tensor(tmp_path: Path) -> None:
    folder = tiny_model.write_official(tmp_path / "c", enc_n_layers=1, dec_n_layers=1)
    convert(folder, tmp_path / "m.gguf", type="q4_0")
    flip_bits(folder, tmp_path / "m.gguf", list(read(tmp_path / "m.gguf")))


@pytest.mark.parametrize("name", TYPES)
def test_verify_finds_one_wrong_bit_in_any_type(name: str, tmp_path: Path) -> None:
    folder = tiny_model.write_official(
        tmp_path / "c", preset="kquant", enc_n_layers=1, dec_n_layers=1
    )
    convert(folder, tmp_path / "m.gguf", type=name)
    flip_bits(folder, tmp_path / "m.gguf", ["enc.blk.0.attn_q.weight", "dec.embed.weight"])


@pytest.mark.parametrize(
    "key",
    [
        "voxtral_edge.source.sha256",
        "voxtral_edge.encoder.rope_theta",
        "voxtral_edge.decoder.n_heads",
        "tokenizer.voxtral_edge.bytes",
        "tokenizer.voxtral_edge.offsets",
        "general.file_type",
    ],
)
def test_verify_finds_wrong_metadata(key: str, official: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    convert(official, path)
    field = gguf.GGUFReader(path).fields[key]
    damaged = bytearray(path.read_bytes())
    damaged[field.offset + sum(part.nbytes for part in field.parts) - 1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ConversionError, match=f"metadata key {re.escape(key)} is not"):
        verify(official, path)


def test_verify_refuses_another_checkpoint(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf")
    other = tiny_model.write_official(tmp_path / "other", seed=1)
    with pytest.raises(ConversionError, match=r"tensor .* is further from its source than"):
        verify(other, tmp_path / "m.gguf")
    wider = tiny_model.write_official(tmp_path / "wider", enc_hidden_dim=192)
    with pytest.raises(ConversionError, match=r"tensor .* is .*, not "):
        verify(wider, tmp_path / "m.gguf")


def test_truncated_gguf(official: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    convert(official, path)
    whole = path.read_bytes()
    for n in (0, 3, 20, 1000, 5000, len(whole) - 1000):
        path.write_bytes(whole[:n])
        with pytest.raises(ConversionError, match="not a whole GGUF file"):
            verify(official, path)


# ---- refusals ------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[str, Callable[[Path], object], str]] = {}


def refusal(layout: str, name: str, pattern: str) -> Callable[[Callable[[Path], object]], None]:
    """Register a way to spoil a checkpoint, and what the message must say."""

    def register(spoil: Callable[[Path], object]) -> None:
        key = f"{layout}: {name}"
        assert key not in REFUSALS
        REFUSALS[key] = (layout, spoil, pattern)

    return register


def json_refusal(layout: str, file: str, pattern: str, place: str, **values: object) -> None:
    """A refusal of values in a JSON file; None removes the key."""

    def spoil(folder: Path) -> None:
        def change(section: dict) -> None:
            for part in place.split("."):
                section = section[part] if part else section
            for key, value in values.items():
                section[key] = value
                if value is None:
                    del section[key]

        edit(folder / file, change)

    refusal(layout, f"{file} {place} {values}", rf"{re.escape(file)}: .*{pattern}")(spoil)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = weights()
    change(tensors)
    write_safetensors(folder / "consolidated.safetensors", tensors, "F32")


WQ = "layers.1.attention.wq.weight"
ENC = "multimodal.whisper_model_args.encoder_args"
for missing in ("params.json", "tekken.json"):
    refusal("official", f"no {missing}", rf"{missing} is missing: download it")(
        lambda folder, missing=missing: (folder / missing).unlink()
    )
refusal("official", "no weights", "no weights here: a checkpoint is params.json")(
    lambda folder: (folder / "consolidated.safetensors").unlink()
)
refusal("transformers", "no config", "config.json is missing: download it")(
    lambda folder: (folder / "config.json").unlink()
)
for file in ("params.json", "tekken.json"):
    refusal("official", f"bad {file}", rf"{file}: not valid JSON \(.*\): download the file again")(
        lambda folder, file=file: (folder / file).write_text('{"dim": ')
    )
refusal("official", "JSON list", "params.json: not a JSON object")(
    lambda folder: (folder / "params.json").write_text("[]")
)
refusal("official", "missing tensor", rf"tensor {re.escape(WQ)} is missing in consolidated")(
    lambda folder: rewrite(folder, lambda t: t.pop(WQ))
)
refusal("official", "unknown tensor", r"consolidated.safetensors: tensor extra is unknown: ")(
    lambda folder: rewrite(folder, lambda t: t.update(extra=np.zeros(3)))
)
refusal("official", "shape", rf"tensor {re.escape(WQ)} has the shape \[96, 128\], not \[128, 96\]")(
    lambda folder: rewrite(folder, lambda t: t.update({WQ: t[WQ].T}))
)
for value in (np.nan, np.inf, -np.inf):
    refusal(
        "official", str(value), rf"tensor {re.escape(WQ)} has a NaN or an infinity in row 77: "
    )(lambda folder, value=value: rewrite(folder, lambda t: t[WQ].__setitem__((77, 3), value)))
refusal("official", "NaN in a vector", r"tensor norm.weight has a NaN")(
    lambda folder: rewrite(folder, lambda t: t["norm.weight"].__setitem__(95, np.nan))
)
refusal("official", "overflow", r"has a value beyond 65504, .*: choose --type bf16 or f32")(
    lambda folder: rewrite(folder, lambda t: t[WQ].__setitem__((0, 0), -65600))
)


@refusal("official", "truncated", r"consolidated.safetensors: it has [\d,]+ bytes, but its header")
def _(folder: Path) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@refusal("official", "truncated in its header", "not a safetensors file, or not all of one")
def _(folder: Path) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@refusal("official", "damaged header", "its header is not valid: download the file again")
def _(folder: Path) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"shape"', b'"share"', 1))


@refusal("official", "wrong header", "its header has a wrong entry for ")
def _(folder: Path) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"F64" ', 1))


@refusal("official", "integers", r"tensor .* is stored as I16: use the checkpoint in BF16")
def _(folder: Path) -> None:
    path = folder / "consolidated.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"I16" ', 1))


@refusal("transformers", "missing shard", r"model-00002-of-00003.safetensors is missing, but ")
def _(folder: Path) -> None:
    tiny_model.write_transformers(folder, n_shards=3)
    (folder / "model.safetensors").unlink()
    (folder / "model-00002-of-00003.safetensors").unlink()


@refusal("transformers", "shard outside", r"is missing, but model.safetensors.index.json names it")
def _(folder: Path) -> None:
    (folder / checkpoint.INDEX).write_text('{"weight_map": {"a": "../model.safetensors"}}')


@refusal(
    "transformers", "shard of no name", r"is missing, but model.safetensors.index.json names it"
)
def _(folder: Path) -> None:
    names = {"a": "model.safetensors", "b": "x" * 300, "c": 10**400, "d": None, "e": "a\0b"}
    (folder / checkpoint.INDEX).write_text(json.dumps({"weight_map": names}))


@refusal("transformers", "twice", r"tensor .* is also in model-00001.*: remove the file")
def _(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-00001.safetensors")


ANOTHER = "this is another architecture"
for file, layout in (("params.json", "official"), ("config.json", "transformers")):
    part = ENC if layout == "official" else "audio_config"
    for window in ([750], "750 frames", 0, True):
        json_refusal(layout, file, "sliding_window is .*, not one", part, sliding_window=window)
json_refusal("official", "params.json", "dim is missing", "", dim=None)
json_refusal("official", "params.json", "dim is not a whole number", "", dim=1.5)
json_refusal("official", "params.json", "n_layers is 0, not a whole", "", n_layers=0)
json_refusal("official", "params.json", "norm_eps is -1, not a pos", "", norm_eps=-1)
json_refusal("official", "params.json", "is no multiple of n_kv_heads", "", n_kv_heads=3)
json_refusal("official", "params.json", "head_dim is 31: rotation", "", head_dim=31)
json_refusal("official", "params.json", ANOTHER, "", tied_embeddings=False)
json_refusal("official", "params.json", ANOTHER, "", ada_rms_norm_t_cond=False)
json_refusal("official", "params.json", ANOTHER, ENC, ffn_type="gelu")
json_refusal("official", "params.json", ANOTHER, ENC, causal=False)
json_refusal("official", "params.json", ANOTHER, ENC + ".audio_encoding_args", num_mel_bins=80)
json_refusal("official", "params.json", "audio_encoding_args is missing", ENC,
             audio_encoding_args=None)  # fmt: skip
theta = "rope_parameters.rope_theta is missing, and the default of transformers would give wrong"
json_refusal("transformers", "config.json", theta, "audio_config", rope_parameters=None)
json_refusal("transformers", "config.json", theta, "audio_config.rope_parameters", rope_theta=None)
json_refusal("transformers", "config.json", theta, "text_config", rope_parameters=None)
json_refusal("transformers", "config.json", ANOTHER, "text_config.rope_parameters",
             rope_type="yarn")  # fmt: skip
json_refusal("transformers", "config.json", ANOTHER, "", model_type="whisper")
json_refusal("transformers", "config.json", ANOTHER, "", downsample_factor=2)
json_refusal("official", "tekken.json", r"1500 tokens, but the weights have 1400", "config",
             default_vocab_size=1500)  # fmt: skip
json_refusal("official", "tekken.json", "399 text tokens, but the weights need 400", "",
             vocab=tiny_model.tekken_json(tiny_model.PRESETS["micro"])["vocab"][:399])  # fmt: skip
json_refusal("official", "tekken.json", "transcription_delay_ms is 100, not", "audio",
             transcription_delay_ms=100)  # fmt: skip
json_refusal("official", "tekken.json", ANOTHER, "audio", transcription_format="instruct")


def tekken_refusal(name: str, pattern: str, change: Callable[[dict], object]) -> None:
    refusal("official", name, rf"tekken.json: .*{pattern}")(
        lambda folder: edit(folder / "tekken.json", change)
    )


for special, rank in (("<s>", 1), ("</s>", 2), ("[STREAMING_PAD]", 32), ("[STREAMING_WORD]", 33)):
    tekken_refusal(
        f"no {special}",
        rf"no special token is called {re.escape(special)}: ",
        lambda t, rank=rank: t["special_tokens"].pop(rank),
    )
tekken_refusal("rank", r"vocab\[3\].rank is not 3", lambda t: t["vocab"].pop(3))
tekken_refusal(
    "base64",
    r"vocab\[3\].token_bytes is not base64",
    lambda t: t["vocab"][3].update(token_bytes="*"),
)
tekken_refusal(
    "special rank",
    r"special_tokens\[4\].rank is 1000, but there are 1000",
    lambda t: t["special_tokens"][4].update(rank=1000),
)


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_line_and_change_nothing(
    case: str, copy: Folders, spy: Spy, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, spoil, pattern = REFUSALS[case]
    folder = copy(layout)
    spoil(folder)
    assert main([str(folder), str(spy.target)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(pattern, err), err
    assert err.startswith("voxtral: ") and str(folder) in err and err.count("\n") == 1
    spy.check()


def test_values_beyond_half_precision_fit_bf16(copy: Folders, tmp_path: Path) -> None:
    folder = copy()
    rewrite(folder, lambda t: t[WQ].__setitem__((0, 0), -65600))
    for name in ("bf16", "f32"):
        convert(folder, tmp_path / "m.gguf", type=name)
    for name in ("f16", "q8_0", "q4_0", "q6_k"):
        with pytest.raises(ConversionError, match="beyond 65504"):
            convert(folder, tmp_path / "m.gguf", type=name)


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        ("", "is a folder: name the file to write"),
        ("nowhere/m.gguf", "nowhere does not exist: make it first"),
        ("official/consolidated.safetensors", "belongs to the checkpoint"),
        ("official/params.json", "belongs to the checkpoint"),
        ("notes.txt", "is there, and of another kind"),
        ("weights", "is .*consolidated.safetensors, which is read"),
        ("tokenizer", "is .*tekken.json, which is read"),
    ],
)
def test_targets_that_cannot_be(target: str, pattern: str, copy: Folders, tmp_path: Path) -> None:
    folder = copy()
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "weights").symlink_to(folder / "consolidated.safetensors")
    (tmp_path / "tokenizer").hardlink_to(folder / "tekken.json")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(vox.VoxtralError, match=pattern):
        convert(folder, tmp_path / target)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}


def test_checkpoint_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is not a folder: name the folder"):
        convert(tmp_path / "nothing", tmp_path / "m.gguf")


def test_unknown_type(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConversionError, match="there is no type q3_k: choose one of f32, f16"):
        convert(official, tmp_path / "m.gguf", type="q3_k")
    with pytest.raises(SystemExit, match="2"):
        main([str(official), str(tmp_path / "m.gguf"), "--type", "q3_k"])
    assert "invalid choice: 'q3_k'" in capsys.readouterr().err


def test_errors_are_the_package_s(tmp_path: Path) -> None:
    with pytest.raises(vox.VoxtralError) as caught:
        convert(tmp_path / "nothing", tmp_path / "m.gguf")
    assert isinstance(caught.value, ValueError)


# ---- command line --------------------------------------------------------------------------------


def test_command_line(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gguf"
    assert main([str(official), str(path), "--type", "q8_0", "--verify", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"m.gguf: [\d.]+ MB, 81 tensors, 0.7 M parameters \(.* MB F32, .* Q8_0\)", out)
    assert re.search(r"^verified Q8_0: [\d,]+ values, max error .* rms error .*", out, re.MULTILINE)
    assert main([str(official), str(path), "--quiet", "--verify"]) == 0
    assert capsys.readouterr() == ("", "")


def test_script_in_the_clone(
    official: Path, tmp_path: Path, run_python: Callable[..., tuple[str, ...]]
) -> None:
    script = str(ROOT / "convert" / "convert_voxtral.py")
    target = tmp_path / "m.gguf"
    done = subprocess.run(
        run_python(script, str(official), str(target)), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    convert(official, tmp_path / "same.gguf")
    assert target.read_bytes() == (tmp_path / "same.gguf").read_bytes()


def test_progress_lines(official: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from voxtral_edge.console import progress

    now = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    with progress.Bar("convert", 1000) as bar:
        for _ in range(10):
            bar("a.tensor", 100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"convert: 50% of 0.00 GB, 0.00 GB/s, \d+ s left, a.tensor", lines[4])


def test_progress_reaches_the_size_of_the_weights(official: Path, tmp_path: Path) -> None:
    done: list[int] = []
    convert(official, tmp_path / "m.gguf", progress=lambda name, n: done.append(n))
    with SafetensorsFile(official / "consolidated.safetensors") as file:
        assert sum(done) == file.size - len(file.header_bytes)


# ---- inspection ----------------------------------------------------------------------------------


def test_inspect_gguf(official: Path, tmp_path: Path) -> None:
    convert(official, tmp_path / "m.gguf", type="q4_0", name="A [b]tiny[/b] one\x1b")
    text = inspect(tmp_path / "m.gguf")
    assert re.search(r"general.name +A \[b\]tiny\[/b\] one\\x1b", text)
    assert re.search(r"tokenizer.voxtral_edge.offsets +0, 5, 8, .* \(1,401 items\)", text)
    assert re.search(r"enc.blk.2.ffn_down.weight +\[64, 160\] +Q4_0 +0.006", text)
    n_params = sum(values.size for values in weights().values())
    assert re.search(rf"all +81 +{n_params:,} +[\d.]+", text)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_inspect_sources(official: Path, transformers: Path) -> None:
    for path in (official, official / "consolidated.safetensors", transformers):
        text = inspect(path, r"^norm\.weight|language_model\.model\.norm")
        assert re.search(r"norm.weight +\[96\] +BF16 +0.000", text)
        assert re.search(r"all +1 +96 +0.000", text)


def test_inspect_errors(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path, regex, pattern in (
        (tmp_path / "nothing", None, "nothing: No such file"),
        (tmp_path / "text", None, "not a safetensors file"),
        (tmp_path, None, "no weights here"),
        (tmp_path / "text", "(", "is not a regular expression"),
    ):
        with pytest.raises(ConversionError, match=pattern) as caught:
            inspect(path, regex)
        assert "\n" not in str(caught.value)


def test_inspect_weights_script(
    official: Path, tmp_path: Path, run_python: Callable[..., tuple[str, ...]]
) -> None:
    """Statistics of a file and of its source agree."""
    tensors = weights()
    tensors["norm.weight"][3] = np.nan
    tiny_model.write_safetensors(tmp_path / "a.safetensors", tensors)
    convert(official, tmp_path / "m.gguf", type="f32")
    script = str(ROOT / "scripts" / "inspect_weights.py")
    rows: dict[str, list[str]] = {}
    for file in ("a.safetensors", "m.gguf"):
        done = subprocess.run(
            run_python(script, str(tmp_path / file), "--dump", "--filter", "embed|norm.weight"),
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines()[1:]:
            name, kind, *numbers = line.split("\t")
            rows[official_name(name) if file == "m.gguf" else f"source {name}"] = [kind, *numbers]
    embed = tiny_model.ADAPTER + "tok_embeddings.weight"
    assert rows[embed][1:] == rows["source " + embed][1:]
    values = tensors[embed].astype(np.float64)
    expected = [values.min(), values.max(), values.mean(), values.std()]
    assert [float(n) for n in rows[embed][3:7]] == pytest.approx(expected, rel=1e-4)
    assert rows["source norm.weight"][:3] == ["BF16", "96", "1"]


# ---- docs/format.md and csrc ---------------------------------------------------------------------


def doc_table(heading: str) -> list[list[str]]:
    """Rows of the table under the line that holds its column names."""
    text = (ROOT / "docs" / "format.md").read_text()
    lines = text[text.index(heading) :].splitlines()[2:]
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return [[c.strip().strip("`") for c in line.strip("|").split("|")] for line in lines[:end]]


def test_documented_keys(official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxtral_edge.convert.writing import metadata

    sizes = tiny_model.PRESETS["micro"]
    published = (sizes.enc_n_layers, sizes.enc_dim, sizes.dec_n_layers, sizes.dec_dim, 1400)
    convert(official, tmp_path / "other.gguf")
    monkeypatch.setattr(metadata, "PUBLISHED_SIZES", published)
    convert(official, tmp_path / "published.gguf")

    def keys(name: str) -> dict[str, str]:
        names = {"UINT8": "u8", "UINT32": "u32", "FLOAT32": "f32", "STRING": "string"}
        with GgufFile(tmp_path / name) as file:
            return {
                key: f"array of {names[item.name]}" if item is not None else names[kind.name]
                for key, (kind, _, item) in file.metadata.items()
            }

    rows = doc_table("| key | type |")
    documented = [(key, kind) for key, kind, _ in rows]
    assert documented == list(keys("published.gguf").items())
    optional = {key for key, _, meaning in rows if meaning.startswith("*optional*")}
    assert keys("published.gguf").keys() - keys("other.gguf").keys() == optional


def test_documented_tensors() -> None:
    def shape(row: table.Row) -> str:
        first, *rest = row.shape.split()
        first = str(row.kept[1] - row.kept[0]) if row.kept else first
        return f"[{', '.join([first, ' * '.join(reversed(rest))] if rest else [first])}]"

    expected = []
    for prefix, rows in (
        table.CONV,
        table.ENCODER_LAYER,
        table.ENCODER_NORM,
        table.PROJECTION,
        table.EMBEDDING,
        table.DECODER_LAYER,
        table.DECODER_NORM,
        table.TURN_HEAD,
    ):
        layer = "N." if prefix.name.endswith("blk.") else ""
        for row in rows:
            names = [a + layer + b for a, b in zip(prefix, row[:3], strict=True)]
            names[1] = names[1].replace(table.WHISPER, "{W}").replace(table.ADAPTER, "{E}")
            expected.append([names[0], shape(row), row.store, *names[1:]])
    assert doc_table("| tensor | shape |") == expected


def test_documented_types_and_bounds() -> None:
    assert [row[0] for row in doc_table("| type | packed as |")] == list(FILE_TYPES)
    for name, packed, besides in doc_table("| type | packed as |"):
        assert packed == FILE_TYPES[name].most.name
        assert besides.startswith("Q6_K:") == (FILE_TYPES[name].finer.name != packed)
    rows = doc_table("| stored as | block |")
    assert [row[0] for row in rows] == [kind.name for kind in BOUNDS]
    for name, block, limit in rows:
        bound = BOUNDS[Type[name]]
        assert int(block) == bound.block
        for a in (0.0, 1.0):
            documented = eval(limit.replace("^", "**"), {"A": a})  # our own text
            assert documented == pytest.approx(a * bound.relative + bound.absolute, rel=1e-12)


def test_core_reads_the_names_that_are_written(tmp_path: Path) -> None:
    source = (ROOT / "csrc" / "model.c").read_text()
    convert(tiny_model.write_official(tmp_path / "a", has_turns=True), tmp_path / "m.gguf")
    with GgufFile(tmp_path / "m.gguf") as file:
        keys, tensors = set(file.metadata), set(file.tensors)
    read_keys = set(re.findall(r'"((?:general|voxtral_edge|tokenizer)\.[\w.]+\w)"', source))
    assert read_keys - keys == {"general.description"}  # which is optional
    layer = set(re.findall(r'NAME\("([\w.]+)"\)', source))
    single = set(re.findall(r'(?:tensor|vector|matrix)\(l, "([\w.]+)"', source))
    assert {re.sub(r"^\w+\.blk\.\d+\.", "", name) for name in tensors} == layer | single


def test_header_of_an_empty_file(tmp_path: Path) -> None:
    assert write_header(tmp_path / "m.gguf", "a", {}, {})[1] % 32 == 0
    assert len(gguf.GGUFReader(tmp_path / "m.gguf").tensors) == 0
