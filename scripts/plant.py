"""Plant a small trained checkpoint into a larger shape: the same function at the larger cost.

    python scripts/plant.py FOLDER [--from demo] [--shape 4b|FILE.json] [--window demo|real]

The result is a checkpoint in the official layout with every size of the larger model, by default
the published 4B, which hears what the small model hears: the same tokens, hence real shares of pads
and words and real guesses, at the full cost of every matrix. It shows what speed and memory the
large model has. It says nothing about how well the published weights hear, and most of its values
are zeros, so that a processor may draw less power than it will with them.

How the function stays the same: the small tensors lie in corners, all else is zero, so that the
added features, heads and layers add zeros to the residual stream. A norm's mean goes over D
features instead of d, so its epsilon shrinks by d / D and its weights by sqrt(d / D). Frames that
are stacked for the adapter, heads that share keys, and the frequencies of the time embedding keep
their places relative to each other. Added rows of the vocabulary repeat row 0, so that none is
ever greater than all others, and added tokens have made-up bytes. A head for turns is left out: the
published model has none.

--window demo keeps the small model's attention windows: the same text to the end. --window real
takes those of the published model: the full cost of attention, but the text holds only as far as
the small model can hear with longer windows than it was trained with. A shape file is a params.json
or the part of it that SHAPE_4B has.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import math
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from voxtral_edge.convert import Checkpoint, ConversionError
from voxtral_edge.convert.reading.json_file import Section, load
from voxtral_edge.convert.reading.limits import N_KV_HEADS, N_VOCAB, STACK
from voxtral_edge.convert.reading.params import DOWNSAMPLE, Params, Stack, official
from voxtral_edge.convert.reading.safetensors_file import ITEM_SIZES, decode
from voxtral_edge.convert.reading.tensors import Tensor, tensors

ROOT = Path(__file__).parents[1]
WEIGHTS = "consolidated.safetensors"
BLOCK_BYTES = 32 << 20  # written at once
REAL_WINDOWS = {"decoder": 8192, "encoder": 750}
SIZES = {
    "dim": STACK["dim"],
    "n_layers": STACK["n_layers"],
    "n_heads": STACK["n_heads"],
    "n_kv_heads": N_KV_HEADS,
    "hidden_dim": STACK["hidden_dim"],
}
SHAPE_4B: dict[str, Any] = {
    "vocab_size": 131072,
    "dim": 3072,
    "n_layers": 26,
    "n_heads": 32,
    "n_kv_heads": 8,
    "hidden_dim": 9216,
    "multimodal": {
        "whisper_model_args": {
            "encoder_args": {
                "dim": 1280,
                "n_layers": 32,
                "n_heads": 32,
                "n_kv_heads": 32,
                "hidden_dim": 5120,
            }
        }
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, metavar="FOLDER", help="the folder to make")
    parser.add_argument(
        "--from", dest="source", type=Path, default=ROOT / "demo", metavar="CHECKPOINT",
        help="the small checkpoint, official layout (default: the demo model)",
    )  # fmt: skip
    parser.add_argument("--shape", default="4b", metavar="4b|FILE.json", help="(default: 4b)")
    parser.add_argument(
        "--window", choices=["demo", "real"], default="demo", help="(default: demo)"
    )
    args = parser.parse_args()
    try:
        shape = SHAPE_4B if args.shape == "4b" else _read_shape(Path(args.shape))
        n_bytes = plant(args.source, args.target, shape, real_windows=args.window == "real")
    except ConversionError as error:
        print(f"plant: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"plant: cannot write {args.target} ({error.strerror})", file=sys.stderr)
        return 1
    print(f"{args.target}: {n_bytes / 1e9:.2f} GB")
    return 0


def plant(source: Path, target: Path, shape: dict[str, Any], *, real_windows: bool = False) -> int:
    """Write the folder target and return the size of its weights; all or nothing.

    shape has the keys of SHAPE_4B. Raises ConversionError for a checkpoint or a shape that cannot
    be used, OSError if the target cannot be written.
    """
    if target.exists():
        raise ConversionError(f"{target} exists: name a new folder, or remove it first")
    with Checkpoint(source) as small:
        if small.layout != "official":
            raise ConversionError(f"{source} is no checkpoint in the official layout")
        text = _params(load(source / "params.json"), shape, real_windows)
        large = official(Section(Path("the shape"), text))
        _check(small.params, large)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            part.mkdir()
            n_bytes = _write_weights(part / WEIGHTS, small, large)
            _write_json(part / "params.json", text)
            tekken = load(source / "tekken.json").values
            _write_json(part / "tekken.json", _tekken(tekken, large.n_vocab))
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return n_bytes


def _read_shape(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConversionError(f"--shape {path} is neither 4b nor a JSON file")
    return load(path).values


def _params(params: Section, shape: dict[str, Any], real_windows: bool) -> dict[str, Any]:
    """The small params.json with the sizes of the shape; what is not planted stays as it is."""
    text = copy.deepcopy(params.values)
    wanted = Section(Path("the shape"), shape)
    text["vocab_size"] = wanted.count("vocab_size", N_VOCAB)
    whisper = ("multimodal", "whisper_model_args", "encoder_args")
    for name, path in (("decoder", ()), ("encoder", whisper)):
        stack, sizes = text, wanted
        for key in path:
            stack, sizes = stack[key], sizes.section(key)
        d = stack["dim"]
        stack.update({key: sizes.count(key, limit) for key, limit in SIZES.items()})
        stack["norm_eps"] *= d / stack["dim"]
        if real_windows:
            stack["sliding_window"] = REAL_WINDOWS[name]
    text["multimodal"]["whisper_model_args"]["encoder_args"]["vocab_size"] = text["vocab_size"]
    return text


def _check(small: Params, large: Params) -> None:
    """Refuse a shape into which the small model does not go."""
    pairs = [("vocab_size", small.n_vocab, large.n_vocab)]
    for name, a, b in (
        ("decoder", small.decoder, large.decoder),
        ("encoder", small.encoder, large.encoder),
    ):
        pairs += [(f"{name} {key}", getattr(a, key), getattr(b, key)) for key in SIZES]
        pairs.append((f"{name} n_heads / n_kv_heads", _group(a), _group(b)))
    for key, a, b in pairs:
        if b < a:
            raise ConversionError(f"the shape's {key} is {b}, but the small model has {a}")
    if large.decoder.dim % small.decoder.dim:
        raise ConversionError(
            f"the shape's decoder dim {large.decoder.dim} is no multiple of {small.decoder.dim}: "
            "its time embedding has not the small model's frequencies"
        )


def _group(stack: Stack) -> int:
    """Query heads that share a key."""
    return stack.n_heads // stack.n_kv_heads


def _write_weights(path: Path, small: Checkpoint, large: Params) -> int:
    """Write the safetensors file row block by row block and return its size."""
    (file,) = small.files
    plan = tensors(large)
    header, offset = {}, 0
    for tensor in plan:
        # Scaled norms are no BF16 numbers any more; all else is copied.
        kind = "F32" if _is_norm(tensor) else "BF16"
        n = math.prod(tensor.shape) * ITEM_SIZES[kind]
        header[tensor.sources["official"]] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + n],
        }
        offset += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    size = 8 + len(text) + offset
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, size)  # a full disk is noticed now, not at the end
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in plan:
            info = file.tensors.get(tensor.sources["official"])
            if info is None:  # a layer that the small model has not
                values = np.zeros((0,) * len(tensor.shape), np.float32)
                places = [np.arange(0)] * len(tensor.shape)
            else:
                raw = file.read(info.offset, info.n_bytes)
                values = decode(raw, info).reshape(info.shape)
                places = _places(tensor, info.shape, small.params, large)
            _write_tensor(out, tensor, values, places)
    return size


def _write_tensor(
    out: BinaryIO, tensor: Tensor, values: np.ndarray, places: list[np.ndarray]
) -> None:
    """Write zeros with values at places, which has the indices of one axis after the other."""
    n_rows, *rest = tensor.shape
    if _is_norm(tensor) and len(values):
        values = values * np.float32(math.sqrt(len(values) / n_rows))
    bits = values.astype("<f4") if _is_norm(tensor) else _bf16(values)
    rows = np.full(n_rows, -1)  # of the small tensor, by row of the large one
    rows[places[0]] = np.arange(len(values))
    if tensor.name == "dec.embed.weight":
        rows[len(values) :] = 0
    step = max(BLOCK_BYTES // (bits.itemsize * math.prod(rest)), 1)
    for start in range(0, n_rows, step):
        taken = rows[start : start + step]
        block = np.zeros((len(taken), *rest), bits.dtype)
        used = np.flatnonzero(taken >= 0)
        block[np.ix_(used, *places[1:])] = bits[taken[used]]
        out.write(block.data)  # whose errors say what happened, which tofile's do not


def _places(
    tensor: Tensor, shape: tuple[int, ...], small: Params, large: Params
) -> list[np.ndarray]:
    """Where the small tensor's rows, columns and taps go."""
    places = [np.arange(n) for n in shape]
    a, b = small.decoder, large.decoder
    part = tensor.name.split(".", 3)[-1]
    if tensor.name.startswith("enc."):
        a, b = small.encoder, large.encoder
    if part.startswith("attn_q."):
        places[0] = _head_places(a, b)
    elif part == "attn_out.weight":
        places[1] = _head_places(a, b)
    elif part == "ada_down.weight":
        places[1] = places[1] * (b.dim // a.dim)
    elif tensor.name == "adapter.1.weight":
        frames = np.arange(DOWNSAMPLE) * large.encoder.dim
        places[1] = np.add.outer(frames, np.arange(small.encoder.dim)).reshape(-1)
    return places


def _head_places(small: Stack, large: Stack) -> np.ndarray:
    """Places of the query heads' features: a head stays with the key that it reads."""
    heads = np.arange(small.n_heads)
    heads = heads // _group(small) * _group(large) + heads % _group(small)
    return np.add.outer(heads * small.head_dim, np.arange(small.head_dim)).reshape(-1)


def _is_norm(tensor: Tensor) -> bool:
    return tensor.name.endswith("norm.weight")


def _bf16(values: np.ndarray) -> np.ndarray:
    """The bits of the nearest BF16 values."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _tekken(tekken: dict[str, Any], n_vocab: int) -> dict[str, Any]:
    """The tokenizer with n_vocab tokens."""
    n = n_vocab - tekken["config"]["default_num_special_tokens"]
    vocab = tekken["vocab"][:n]
    for rank in range(len(vocab), n):
        token = f"<token {rank}>"
        token_bytes = base64.b64encode(token.encode()).decode()
        vocab.append({"rank": rank, "token_bytes": token_bytes, "token_str": token})
    config = {**tekken["config"], "num_vocab_tokens": n, "default_vocab_size": n_vocab}
    return {**tekken, "config": config, "vocab": vocab}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
