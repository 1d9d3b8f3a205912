"""Converted models in the platform's data directory: list, find by name, verify, remove.

A model is a file NAME.gguf, with NAME.json beside it for what the file cannot say of itself: its
own SHA-256 and where its weights came from. A file without a record is listed and found as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..console.output import Output, is_text
from ..errors import ModelError, ModelFormatError, ModelNotFound

SUFFIX = ".gguf"
OPTION = "a GGUF file, or the name of one of voxtral models (default: the embedded demo model)"
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Stored:
    """A model in the data directory; what is None is not known."""

    name: str
    path: Path
    type: str | None
    n_bytes: int
    converted: date | None
    source: str | None
    sha256: str | None


def folder() -> Path:
    """Return the data directory's folder for models, which need not exist.

    Raises ModelNotFound if this user has no home directory.
    """
    import platformdirs

    try:
        return platformdirs.user_data_path("voxtral-edge", appauthor=False) / "models"
    except RuntimeError:
        raise ModelNotFound(
            "there is no home directory, in which models are kept: set HOME or XDG_DATA_HOME, or "
            "name the file of the model"
        ) from None


def place(source: str, type: str) -> Path:
    """Return where a model goes that is not given a place: named by its source and its type."""
    return folder() / f"{Path(source).resolve().name}-{type}{SUFFIX}"


def stored() -> list[Stored]:
    """Return the models in the data directory, in the order of their names."""
    paths = sorted(folder().glob("[!.]*" + SUFFIX), key=lambda path: path.stem)
    return [_stored(path) for path in paths if path.is_file()]


def find(name: str | os.PathLike[str]) -> Path:
    """Return the file of a model: the path of a file as it is, or that of a stored model.

    A stored one is named as in the list, by the beginning of that name, or by the repository that
    it was converted from. Raises ModelNotFound if none or several are meant.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    try:
        return _named(os.fspath(name)).path
    except ModelNotFound:
        if path.exists():  # a folder, which will be refused as one
            return path
        raise


def chosen(option: str | None) -> Path | None:
    """Return the file that an option -m, described by OPTION, means: None is the demo model."""
    return None if option is None else find(option)


def is_stored(path: Path) -> bool:
    """Whether a file is where models are found by their names."""
    try:
        return path.suffix == SUFFIX and path.parent.samefile(folder())
    except (ModelNotFound, OSError):
        return False


def record(path: Path, source: str) -> None:
    """Write down the hash of a model file in the data directory, and its source."""
    text = json.dumps({"sha256": sha256_of(path), "source": source}, indent=1) + "\n"
    with Output(path.with_suffix(".json"), inputs={}, over=is_text) as output:
        output.write(text.encode())


def verify(name: str, progress: Callable[[str, int], None] | None = None) -> Stored:
    """Compare a stored model with its recorded hash; return it.

    progress is called with the name and the bytes read since. Raises ModelFormatError if the file
    is not what was written, ModelError if no hash is known, ModelNotFound, or OSError.
    """
    model = _named(name)
    if model.sha256 is None:
        raise ModelError(f"{model.name} has no recorded hash: convert it again")
    if sha256_of(model.path, progress) != model.sha256:
        raise ModelFormatError(
            f"{model.name} is damaged (its SHA-256 is not the one it was written with): convert it "
            "again"
        )
    return model


def remove(name: str) -> Stored:
    """Remove a stored model and its record; return what it was.

    Only its whole name will do. Raises ModelNotFound or OSError.
    """
    model = _named(name)
    if name.removesuffix(SUFFIX) != model.name:
        raise ModelNotFound(f"{name} is not the whole name: {model.name} is")
    model.path.unlink()
    model.path.with_suffix(".json").unlink(missing_ok=True)
    return model


def _named(word: str) -> Stored:
    models = stored()
    plain = word.removesuffix(SUFFIX)
    found = [model for model in models if model.name == plain]
    if not found and plain:
        found = [
            model
            for model in models
            if model.name.casefold().startswith(plain.casefold())
            or (model.source or "").partition("@")[0].casefold() == plain.casefold()
        ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(model.name for model in found)
        raise ModelNotFound(f"{word} may be each of {names}: name one of them")
    known = ", ".join(model.name for model in models)
    raise ModelNotFound(
        f"there is no model file {word}"
        + (f", and no stored model of that name (there are {known})" if known else "")
        + ": check the path, or make one with voxtral convert"
    )


def _stored(path: Path) -> Stored:
    from ..convert import ConversionError, GgufFile

    try:
        with GgufFile(path) as file:
            type = str(file.metadata["voxtral_edge.file_type"].value)
    except (ConversionError, KeyError):
        type = None
    state = path.stat()
    try:
        written: Any = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = None
    known = written if isinstance(written, dict) else {}
    texts = [known.get(key) if isinstance(known.get(key), str) else None
             for key in ("source", "sha256")]  # fmt: skip
    try:
        converted = date.fromtimestamp(state.st_mtime)
    except (ValueError, OverflowError, OSError):  # a clock was wrong: a year beyond 9999
        converted = None
    return Stored(path.stem, path, type, state.st_size, converted, *texts)


def sha256_of(path: Path, progress: Callable[[str, int], None] | None = None) -> str:
    """Return the SHA-256 of a file; progress as for verify()."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if progress:
                progress(path.stem, len(block))
    return digest.hexdigest()
