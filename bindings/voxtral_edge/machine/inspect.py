"""Describes a GGUF file, a safetensors file or a checkpoint folder: what `voxtral inspect` prints.

Only headers are read, so that a file of any size is described at once.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..console.lines import columns
from ..console.printable import printable
from ..convert import Checkpoint, ConversionError, GgufFile, SafetensorsFile

SHOWN_ITEMS, SHOWN_CHARACTERS = 8, 100
PIPE_WIDTH = 160


def inspect(path: str | os.PathLike[str], filter: str | None = None) -> str:
    """Return the metadata, the tensors and their totals as text that ends with a newline.

    filter is a regular expression; only tensors in whose name it is found are listed and counted.
    Shapes are [rows, columns], as in PyTorch. Raises ConversionError.
    """
    try:
        pattern = re.compile(filter or "")
    except re.error as error:
        raise ConversionError(f"{filter} is not a regular expression: {error}") from error
    place = Path(path)
    files: Iterable[GgufFile | SafetensorsFile]
    if place.is_dir():
        with Checkpoint(place) as checkpoint:
            files, keys = checkpoint.files, _checkpoint_keys(checkpoint)
    else:
        file = open_weights(place)
        file.close()
        files, keys = [file], file.metadata
    tensors = [
        (name, info.shape, info.type, info.n_bytes)
        for file in files
        for name, info in file.tensors.items()
        if pattern.search(name)
    ]
    text = io.StringIO()
    console = Console(file=text, width=columns(PIPE_WIDTH))
    console.print(_table([str(place), ""], [[key, _value(keys[key])] for key in keys]))
    console.print(
        _table(
            ["tensor", "shape", "type", "MB"],
            [[name, str(list(shape)), kind, _mb(n)] for name, shape, kind, n in tensors],
        )
    )
    totals = []
    for kind in sorted({kind for _, _, kind, _ in tensors}):
        same = [(shape, n) for _, shape, k, n in tensors if k == kind]
        totals.append(_total(kind, same))
    totals.append(_total("all", [(shape, n) for _, shape, _, n in tensors]))
    console.print(_table(["type", "tensors", "parameters", "MB"], totals))
    # rich fills lines with spaces up to the table's width.
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def open_weights(path: Path) -> GgufFile | SafetensorsFile:
    """Open a GGUF or safetensors file, whichever its first bytes say; raise ConversionError."""
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise ConversionError(f"{path}: {error.strerror}") from error
    return GgufFile(path) if is_gguf else SafetensorsFile(path)


def _checkpoint_keys(checkpoint: Checkpoint) -> dict[str, Any]:
    vocabulary = asdict(checkpoint.vocabulary)
    return {
        "layout": checkpoint.layout,
        "files": [file.path.name for file in checkpoint.files],
        **{f"encoder.{key}": value for key, value in asdict(checkpoint.params.encoder).items()},
        **{f"decoder.{key}": value for key, value in asdict(checkpoint.params.decoder).items()},
        "decoder.ada_dim": checkpoint.params.ada_dim,
        "n_vocab": checkpoint.params.n_vocab,
        **{f"tokenizer.{key}": vocabulary[key] for key in vocabulary if key != "tokens"},
    }


def _table(columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = column in ("MB", "tensors", "parameters")
        table.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=column in ("tensor", "shape", "type"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    return table


def _plain(text: str) -> Text:
    """Text that rich does not read as markup and a terminal not as commands."""
    return Text(printable(text))


def _value(entry: Any) -> str:
    value = getattr(entry, "value", entry)  # GGUF values carry their type
    if isinstance(value, str):
        short = value[:SHOWN_CHARACTERS]
        return short + (f"... ({len(value)} characters)" if short != value else "")
    if not hasattr(value, "__len__"):
        return f"{value:g}" if isinstance(value, float) else str(value)
    shown = ", ".join(str(item) for item in value[:SHOWN_ITEMS])
    return shown + (f", ... ({len(value):,} items)" if len(value) > SHOWN_ITEMS else "")


def _total(name: str, tensors: list[tuple[tuple[int, ...], int]]) -> list[str]:
    n_params = sum(math.prod(shape) for shape, _ in tensors)
    return [name, f"{len(tensors):,}", f"{n_params:,}", _mb(sum(n for _, n in tensors))]


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.3f}"
