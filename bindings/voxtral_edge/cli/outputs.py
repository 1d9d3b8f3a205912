"""Where the text of each input goes: standard output, or files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..audio.names import stem
from ..console.output import Output, identities, is_text, refuse_input
from ..errors import ArgumentError
from ..system import here
from ..text.formats import FORMATS
from .inputs import STDIN, Input

ONE_BY_ONE = ("srt", "vtt", "tsv")  # formats that cannot hold several files


class Job(NamedTuple):
    """An input and its outputs: formats, and where each goes, None for standard output."""

    input: Input
    outputs: list[tuple[str, Output | None]]


def plan(inputs: Sequence[Input], formats: Sequence[str], target: str | None) -> list[Job]:
    """Return what is to be written for each input.

    `formats`: none means that of the target's name, or txt. `target`: a file, a folder (it exists,
    ends with a slash, or is needed, and is made), or None for standard output, which /dev/stdout is
    as well. Raises ArgumentError for what does not fit together or must not be written.
    """
    read = identities(0 if input.path == STDIN else input.path for input in inputs)
    if target is None or here.descriptor(Path(target)) == 1:
        formats = formats or ["txt"]
        if len(formats) > 1:
            raise ArgumentError("several formats do not fit standard output: add -o FOLDER")
        if len(inputs) > 1 and formats[0] in ONE_BY_ONE:
            raise ArgumentError(f"several files do not fit one {formats[0]}: add -o FOLDER")
        with contextlib.suppress(OSError):  # closed, which writing will tell
            refuse_input("standard output", os.fstat(1), read)
        return [Job(input, [(formats[0], None)]) for input in inputs]

    def output(path: Path) -> Output:
        return Output(path, inputs=read, over=is_text, make_folder=True)

    path = Path(target)
    is_folder = path.is_dir() or not os.path.split(target)[1]
    if not is_folder and len(inputs) == 1 and len(formats) < 2:
        suffix = path.suffix.lower().removeprefix(".")
        named = suffix if suffix in FORMATS else "txt"
        return [Job(inputs[0], [(formats[0] if formats else named, output(path))])]
    if path.exists() and not path.is_dir():
        raise ArgumentError(f"{target} is a file, but several have to be written: name a folder")
    jobs, owners = [], dict[str, str]()
    for input in inputs:
        outputs: list[tuple[str, Output | None]] = []
        for format in formats or ["txt"]:
            file = path / input.place.with_name(f"{stem(input.place)}.{format}")
            other = owners.setdefault(os.path.realpath(file), input.path)
            if other != input.path:
                raise ArgumentError(
                    f"{other} and {input.path} would both be written to {file}: "
                    "name different folders for them"
                )
            outputs.append((format, output(file)))
        jobs.append(Job(input, outputs))
    return jobs
