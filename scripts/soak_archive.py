"""An archive that is killed over and over, at random moments: python scripts/soak_archive.py.

After each kill every line of the manifest must be whole, no earlier one changed, and every output
that a line tells of be there. At the end each source has one output and one line.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import archives

FILES_PER_KILL = 4  # so that every run has something to do
SOON_S = 1.0  # within which a line is followed by another, or what comes before the first is done


def wait(process: subprocess.Popen[bytes], manifest: Path, choice: random.Random) -> bool:
    """Wait for some further lines, and then a while; return whether the process has ended."""

    def size() -> int:
        return manifest.stat().st_size if manifest.exists() else 0

    for _ in range(choice.randrange(FILES_PER_KILL)):
        before = size()
        while size() <= before and process.poll() is None:
            time.sleep(0.005)
    try:
        process.wait(choice.uniform(0.0, SOON_S))
    except subprocess.TimeoutExpired:
        return False
    return True


def kills(voxtral: Sequence[str], talks: Path, target: Path, *, n: int, seed: int) -> str:
    """Kill n runs over an archive, and let another one end it; return what came of it."""
    choice = random.Random(seed)
    texts = archives.fill(talks, FILES_PER_KILL * n)
    words = ["archive", talks, "-o", target, "--format", "txt", "--quiet", "--workers", "2"]
    command = [*voxtral, *map(str, [*words, "--threads", "1", "--save-every", "0.01"])]
    manifest, before, n_ended = target / "manifest.jsonl", b"", 0
    for _ in range(n):
        process = subprocess.Popen(command)
        if wait(process, manifest, choice):
            n_ended += 1
        else:
            process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL)
        # What the worker of a run that was killed still does must not matter: the next one starts.
        now = manifest.read_bytes() if manifest.exists() else b""
        whole = now[: now.rfind(b"\n") + 1]
        assert whole.startswith(before), "a line has changed"
        before = whole
        for line in archives.parsed(whole):
            place = line["source"].removesuffix(".wav")
            assert (target / f"{place}.txt").read_text().strip() == texts[place], place
    assert subprocess.run(command).returncode == 0
    assert manifest.read_bytes().startswith(before)
    archives.check(target, texts)
    n_before = len(archives.parsed(before))
    return (
        f"{n} kills of an archive, {n_ended} of them too late; {n_before} of {len(texts)} sources "
        "done by then; each once"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        talks, target = Path(folder) / "talks", Path(folder) / "texts"
        talks.mkdir()
        voxtral = [sys.executable, "-m", "voxtral_edge"]
        print(kills(voxtral, talks, target, n=args.kills, seed=args.seed))


if __name__ == "__main__":
    main()
