"""Subtitles for all sound files of a folder, a process per core: python examples/folder.py FOLDER.

The weights are mapped from the file, so the processes share one copy of them in memory.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import voxtral_edge as vox

model: vox.Model


def open_model() -> None:
    """Open the model once in each process."""
    global model
    model = vox.Model()


def subtitle(path: Path) -> str:
    """Write the subtitles of a file beside it; return a line about it."""
    transcript = model.transcribe(path)
    path.with_suffix(".srt").write_text(transcript.to_srt(), encoding="utf-8")
    return f"{path.name}: {len(transcript.words)} words in {transcript.duration_s:.1f} s"


if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.wav"))
    # A process that was not forked has no threads of its parent's to wait for.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), open_model) as pool:
        for line in pool.map(subtitle, paths):
            print(line)
