"""Measures speed, lag and memory of a model on this machine: what `voxtral bench` does.

Three kinds of runs over the same clip: "offline", all audio at once; "live", in chunks, each pushed
as soon as the one before is done, which gives the work per second of audio; and "paced", in which
audio arrives at the speed of the clock, as from a microphone, which gives the lag. Each run draws
one slot after the other and takes the stream's statistics in between, so that the time of every
pass is known by its stage. measure() returns a dictionary that is written as JSON as it is;
report() makes text of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import math
import os
import platform
import resource
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..audio import RATE, Samples, read
from ..cli.terminal import write
from ..errors import ArgumentError, AudioError
from ..streaming.model import Model
from ..streaming.stream import DELAYS_MS, SLOT_MS, Piece, Stats, Stream
from . import models

Result = dict[str, Any]

PARTS = ("offline", "live", "paced")
CHUNKS_MS = (80, 160, 320, 480)
N_SLOT = RATE * SLOT_MS // 1000  # samples
LOOK_AHEAD = 40  # samples after its slots that a slot's mel frames reach into
BLOCK = RATE // 50  # samples that arrive at once in a paced run: 20 ms, as from a sound card
STAGES = {  # stage: what counts its passes and its slots
    "mel": "encoder",
    "encoder": "encoder",
    "prefill": "prefill",
    "decoder": "decoder",
    "head": "decoder",
}
PIPE_WIDTH = 120
PROGRESS_S = 1.0  # between two words about it, rarely enough not to be measured with the rest
PLOT_TYPES = (".png", ".svg", ".pdf")
CPU_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni", "avx_vnni",
             "amx_int8", "asimddp", "i8mm")  # fmt: skip

ABOUT = """\
Measure speed, lag and memory of a model on this machine.

    voxtral bench -m MODEL --seconds 60
    voxtral bench -m MODEL --audio talk.wav --seconds 600 --parts paced --plot lag.png
    voxtral bench -m MODEL --heard 660 --parts live --chunks 480

offline: all audio at once. live: in chunks of 80 to 480 ms, each as soon as the one before is done.
paced: audio arrives at the speed of the clock; the run takes as long as the clip. RTF is time over
audio: below 1 keeps up. The lag of a slot is how long after the arrival of the last sample that it
needs it came out. Without --audio, the recordings that come with the package are the clip. Run it
on an idle machine.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("-m", "--model", metavar="MODEL", help=models.OPTION)
    parser.add_argument(
        "--audio", nargs="+", metavar="FILE", help="sound files, joined to one clip"
    )
    parser.add_argument(
        "--seconds", type=_number, metavar="N", help="cut or repeat the clip to this length"
    )
    parser.add_argument(
        "--delay", type=int, choices=DELAYS_MS, metavar="MS", help="(default: that of the model)"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="threads (default: what suits the model)"
    )
    parser.add_argument(
        "--parts", type=_parts, default=PARTS, metavar="LIST", help=f"(default: {','.join(PARTS)})"
    )
    parser.add_argument(
        "--chunks",
        type=_chunks,
        default=CHUNKS_MS,
        metavar="LIST",
        help=f"of live runs, in ms (default: {','.join(map(str, CHUNKS_MS))})",
    )
    parser.add_argument(
        "--heard",
        type=_number,
        default=0.0,
        metavar="N",
        help="seconds of the clip, over and over, that each stream has heard before it is measured",
    )
    parser.add_argument(
        "--late", type=_number, default=500.0, metavar="MS", help="lag that is late (default: 500)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the paced run's lag there")


def run(args: argparse.Namespace) -> int:
    """Run the command with parsed options; return 0."""
    if args.plot and "paced" not in args.parts:
        raise ArgumentError("--plot draws the paced run: add paced to --parts")
    if args.plot and args.plot.suffix not in PLOT_TYPES:
        raise ArgumentError(f"{args.plot}: its name must end with one of {', '.join(PLOT_TYPES)}")
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        raise ArgumentError(
            "--plot needs matplotlib: pip install 'voxtral-edge[plot]', or leave --plot out"
        )
    for path in filter(None, (args.json, args.plot)):  # noticed now rather than after the run
        if not path.parent.is_dir():
            raise ArgumentError(f"{path}: the folder {path.parent} does not exist: make it first")
    samples = _clip(args.audio, args.seconds)
    result = measure(
        models.chosen(args.model),
        samples,
        args.parts,
        delay_ms=args.delay,
        threads=args.threads,
        chunks_ms=args.chunks,
        heard_s=args.heard,
        late_ms=args.late,
    )
    write(report(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        _plot(result["runs"]["paced"], args.plot)
    return 0


def measure(
    path: str | os.PathLike[str] | None,
    samples: Samples,
    parts: tuple[str, ...] = PARTS,
    *,
    delay_ms: int | None = None,
    threads: int | None = None,
    chunks_ms: tuple[int, ...] = CHUNKS_MS,
    heard_s: float = 0.0,
    late_ms: float = 500.0,
) -> Result:
    """Run the parts with samples [n]; path as for Model. Raises what Model and Stream raise.

    Before it is measured, each stream hears heard_s seconds of samples, over and over: its rings
    are then as full as those of a stream that old. Times are in ms unless named otherwise, memory
    in bytes; None stands where nothing was measured.
    """
    start = time.perf_counter()
    with Model(path, threads=threads) as model:
        load_ms = _ms_since(start)
        delay_ms = delay_ms or model.default_delay_ms
        result: Result = {
            "version": __version__,
            "machine": machine(),
            "model": model.name,
            "type": model.file_type,
            "kernels": model.kernels,
            "n_params": model.n_params,
            "encoder_window": model.encoder_window,
            "decoder_window": model.decoder_window,
            "threads": threads,
            "delay_ms": delay_ms,
            "audio_s": len(samples) / RATE,
            "heard_s": heard_s,
            "load_ms": load_ms,
            "streams": [_first_slot(model, samples, delay_ms) for _ in range(2)],
            "runs": {},
        }
        runs = result["runs"]
        wanted: dict[str, dict[str, Callable[[_Run], Result]]] = {
            "offline": {"offline": _offline},
            "live": {f"live {ms} ms": partial(_live, chunk_ms=ms) for ms in chunks_ms},
            "paced": {"paced": partial(_paced, late_ms=late_ms)},
        }
        for part in parts:
            for name, work in wanted[part].items():
                with model.stream(delay_ms=delay_ms) as stream:
                    runs[name] = work(_Run(name, stream, samples, delay_ms, heard_s))
    memory = [run.pop("memory") for run in runs.values()]
    result["memory"] = {key: max(each[key] for each in memory) for key in memory[0]}
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB
    result["memory"]["peak_rss_bytes"] = 1024 * peak_kib
    return result


# ---- runs ---------------------------------------------------------------------------------------


class _Run:
    """Draws the slots of a stream and keeps what came out and the time of each pass.

    The stream has heard n_heard samples, which gave n_before slots, when the run begins.
    """

    def __init__(
        self, name: str, stream: Stream, samples: Samples, delay_ms: int, heard_s: float
    ) -> None:
        self.name, self.stream, self.samples, self.delay_ms = name, stream, samples, delay_ms
        self.total_s = len(samples) / RATE
        self.n_heard, self.n_before = round(heard_s * RATE), 0
        if self.n_heard:
            print(f"voxtral: hearing {heard_s:g} s before {name}", file=sys.stderr)
        for i in range(0, self.n_heard, len(samples)):
            stream.push(samples[: self.n_heard - i])
            self.n_before += sum(1 for _ in stream.slots())
        print(f"voxtral: measuring {name}", file=sys.stderr)
        self.shown = time.monotonic()
        self.first = self.before = stream.stats()
        self.text: list[str] = []
        self.tokens: list[int] = []
        self.ms: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.n_slots = dict.fromkeys(STAGES, 0)
        self.by_width: dict[str, dict[int, list[float]]] = {s: defaultdict(list) for s in STAGES}

    def next(self) -> Piece | None:
        """Draw the next slot, if the audio so far allows one."""
        piece = next(self.stream.slots(), None)
        after = self.stream.stats()
        self._keep(self.before, after)
        self.before = after
        if piece:
            self.text.append(piece.text)
            self.tokens.append(piece.token)
            if sys.stderr.isatty() and time.monotonic() > self.shown + PROGRESS_S:
                self.shown = time.monotonic()
                done_s = min(piece.end_ms / 1000, self.total_s)
                # In place of the line above, which grows.
                line = f"voxtral: measuring {self.name}: {done_s:.0f} of {self.total_s:.0f} s"
                print(f"\x1b[A{line}", file=sys.stderr)
        return piece

    def drain(self) -> int:
        """Draw all slots that the audio so far allows; return how many."""
        n = len(self.tokens)
        while self.next():
            pass
        return len(self.tokens) - n

    def due(self) -> int:
        """Samples of the run's after which the slot drawn last could be computed."""
        return _needed(self.n_before + len(self.tokens) - 1, self.delay_ms) - self.n_heard

    def _keep(self, before: Stats, after: Stats) -> None:
        def grown(name: str) -> int:
            return int(getattr(after, name) - getattr(before, name))

        for stage, counter in STAGES.items():
            n_slots = grown(f"n_{counter}_slots")
            # The head has no work, but a clock, where no position of a pass speaks.
            if not (n_slots if stage == "head" else grown(f"{stage}_ns")):
                continue
            # What a model's first stream prepares, and the head of the prompt, are passes too.
            n_passes = max(grown(f"n_{counter}_passes"), 1)
            ms = grown(f"{stage}_ns") / n_passes / 1e6
            self.ms[stage] += n_passes * [ms]
            self.n_slots[stage] += n_slots
            if n_passes == 1:
                self.by_width[stage][n_slots].append(ms)

    def result(self, work_s: float) -> Result:
        """Return what all runs have in common; work_s is time without waiting."""
        stats, first, model = self.before, self.first, self.stream.model
        return {
            "rtf": work_s / self.total_s,
            "n_slots": len(self.tokens),
            "n_pads": self.tokens.count(model.token_pad),
            "n_words": self.tokens.count(model.token_word),
            "n_decoder_passes": stats.n_decoder_passes - first.n_decoder_passes,
            "n_drafted": stats.n_drafted - first.n_drafted,
            "n_agreed": stats.n_agreed - first.n_agreed,
            "stages": {
                stage: {
                    "n_passes": len(ms),
                    "n_slots": self.n_slots[stage],
                    "p50_ms": _percentile(ms, 50),
                    "p95_ms": _percentile(ms, 95),
                    "ms_per_audio_s": sum(ms) / self.total_s,
                    "by_width": {
                        str(width): {"n_passes": len(times), "p50_ms": _percentile(times, 50)}
                        for width, times in sorted(self.by_width[stage].items())
                    },
                }
                for stage, ms in self.ms.items()
            },
            "text": "".join(self.text).lstrip(),
            "memory": {
                "weight_bytes": stats.weight_bytes,
                "state_bytes": stats.state_bytes,
                "scratch_bytes": stats.scratch_bytes,
            },
        }


def _needed(slot: int, delay_ms: int) -> int:
    """Samples after which a slot can be computed."""
    return N_SLOT * (slot + 1 + delay_ms // SLOT_MS) + LOOK_AHEAD


def _first_slot(model: Model, samples: Samples, delay_ms: int) -> Result:
    """Open a stream and compute its first slot, whose audio is there already."""
    start = time.perf_counter()
    with model.stream(delay_ms=delay_ms) as stream:
        open_ms = _ms_since(start)
        start = time.perf_counter()
        n = _needed(0, delay_ms)
        stream.push(samples[:n])
        if len(samples) < n:
            stream.end()
        next(stream.slots())
        return {"open_ms": open_ms, "first_slot_ms": _ms_since(start)}


def _offline(run: _Run) -> Result:
    start = time.perf_counter()
    run.stream.push(run.samples)
    run.stream.end()
    run.drain()
    return run.result(_ms_since(start) / 1000)


def _live(run: _Run, chunk_ms: int) -> Result:
    n, calls, work_ms = RATE * chunk_ms // 1000, [], 0.0
    for i in range(0, len(run.samples), n):
        start = time.perf_counter()
        run.stream.push(run.samples[i : i + n])
        n_new, ms = run.drain(), _ms_since(start)
        work_ms += ms
        if n_new and len(run.tokens) > n_new:  # not the first, which the prompt makes longer
            calls.append(ms)
    start = time.perf_counter()
    run.stream.end()
    run.drain()
    finish_ms = _ms_since(start)
    return {
        **run.result((work_ms + finish_ms) / 1000),
        "call_p50_ms": _percentile(calls, 50),
        "call_p95_ms": _percentile(calls, 95),
        "finish_ms": finish_ms,
    }


def _paced(run: _Run, late_ms: float) -> Result:
    stream, n, n_pushed, ended = run.stream, len(run.samples), 0, False
    due, lag = [], []  # s, ms: of each slot that came of heard audio
    first_text: Result = {"first_text_s": None, "first_text_lag_ms": None}
    start, waited_s = time.perf_counter(), 0.0
    while True:
        now_s = time.perf_counter() - start
        arrived = min(int(now_s * RATE) // BLOCK * BLOCK, n) if now_s * RATE < n else n
        if arrived > n_pushed:
            stream.push(run.samples[n_pushed:arrived])
            n_pushed = arrived
        if arrived == n and not ended:
            stream.end()
            ended = True
        piece = run.next()
        if piece:
            done_s = time.perf_counter() - start
            needed = run.due()
            due_s = min(-(-needed // BLOCK) * BLOCK, n) / RATE
            if needed <= n:
                due.append(due_s)
                lag.append(1000 * (done_s - due_s))
            if piece.text and first_text["first_text_s"] is None:
                first_text = {
                    "first_text_s": done_s,
                    "first_text_lag_ms": 1000 * (done_s - due_s),
                }
        elif ended:
            break
        else:
            before_s = time.perf_counter() - start
            next_s = min(n_pushed + BLOCK, n) / RATE
            time.sleep(max(next_s - before_s, 0))
            waited_s += time.perf_counter() - start - before_s
    total_s = time.perf_counter() - start
    return {
        **run.result(total_s - waited_s),
        "lag_p50_ms": _percentile(lag, 50),
        "lag_p95_ms": _percentile(lag, 95),
        "lag_max_ms": max(lag, default=None),
        "late_ms": late_ms,
        "late_share": sum(each > late_ms for each in lag) / len(lag) if lag else None,
        **first_text,
        "finish_ms": 1000 * (total_s - n / RATE),
        "due_s": due,
        "lag_ms": lag,
    }


def _clip(paths: list[str] | None, seconds: float | None) -> Samples:
    """Return sound files as one clip; None: the recordings of this package."""
    if paths is None:
        with resources.as_file(resources.files("voxtral_edge") / "samples") as folder:
            return _clip(sorted(map(str, folder.glob("*.wav"))), seconds)
    parts = [block for path in paths for block in read(path)]
    samples: Samples = np.concatenate([*parts, np.zeros(0, np.float32)])
    if not len(samples):
        raise AudioError(f"there is no sound in {', '.join(paths)}")
    if seconds is not None:
        samples = np.resize(samples, max(int(seconds * RATE), 1))
    return samples


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _ms_since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)


def machine() -> Result:
    """Describe the processor, the memory and the system, as far as they can be known."""
    cpu, flags = platform.processor() or platform.machine(), set[str]()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        keys = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        cpu = keys.get("model name", cpu)
        flags = set(keys.get("flags", keys.get("Features", "")).split())
    except OSError:
        pass
    return {
        "cpu": cpu,
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "n_cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],  # of what else runs; above 0 disturbs
    }


# ---- report -------------------------------------------------------------------------------------


def report(result: Result) -> str:
    """Return the tables of a result of measure(), which end with a newline."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False, soft_wrap=True)
    runs, memory, here = result["runs"], result["memory"], result["machine"]
    threads = result["threads"] or "default"
    heard = f" after {result['heard_s']:g} s" if result["heard_s"] else ""
    console.print(
        f"{result['model']}, {result['type']}, {result['n_params'] / 1e6:.0f} M parameters; "
        f"{result['audio_s']:.1f} s of audio{heard}, delay {result['delay_ms']} ms, "
        f"threads: {threads}, "
        f"kernels: {result['kernels']}\n"
        f"{here['cpu']}, {here['n_cpus']} processors ({' '.join(here['cpu_flags'])}), "
        f"{here['memory_bytes'] / 2**30:.0f} GiB, {here['system']}, "
        f"load {here['load_average']:.1f}\n"
    )
    opened = [
        f"opened in {each['open_ms']:.1f} ms, first slot after {each['first_slot_ms']:.0f} ms"
        for each in result["streams"]
    ]
    console.print(f"load {result['load_ms']:.0f} ms; first stream {opened[0]}; second {opened[1]}")
    console.print(
        f"peak memory {_mb(memory['peak_rss_bytes'])}: weights {_mb(memory['weight_bytes'])}, "
        f"stream {_mb(memory['state_bytes'])}, scratch {_mb(memory['scratch_bytes'])}, and the rest"
    )
    columns = ["run", "RTF", "slots", "pads", "words", "slots/pass", "guesses right", "call p50",
               "p95", "finish"]  # fmt: skip
    console.print(_table(columns, [[_summary(name, run) for name, run in runs.items()]]))
    columns = ["run", "stage", "passes", "slots/pass", "ms p50", "p95", "ms per s of audio"]
    rows = [[_stage(run, s, runs[run]["stages"][s]) for s in STAGES] for run in runs]
    console.print(_table(columns, rows))
    if "paced" in runs:
        paced = runs["paced"]
        share = "-" if paced["late_share"] is None else f"{paced['late_share']:.1%}"
        console.print(
            f"paced: lag p50 {_f(paced['lag_p50_ms'])} ms, p95 {_f(paced['lag_p95_ms'])} ms, "
            f"max {_f(paced['lag_max_ms'])} ms; {share} of slots later than "
            f"{paced['late_ms']:.0f} ms; first text at {_f(paced['first_text_s'], 2)} s, "
            f"lag {_f(paced['first_text_lag_ms'])} ms"
        )
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _summary(name: str, run: Result) -> list[str]:
    drafted, passes = run["n_drafted"], run["n_decoder_passes"]
    return [
        name,
        f"{run['rtf']:.3f}",
        str(run["n_slots"]),
        f"{run['n_pads'] / run['n_slots']:.0%}",
        str(run["n_words"]),
        f"{run['n_slots'] / passes:.2f}" if passes else "-",
        f"{run['n_agreed'] / drafted:.0%} of {drafted}" if drafted else "-",
        _f(run.get("call_p50_ms")),
        _f(run.get("call_p95_ms")),
        _f(run.get("finish_ms")),
    ]


def _stage(run: str, name: str, stage: Result) -> list[str]:
    n = stage["n_passes"]
    return [
        run,
        name,
        str(n),
        f"{stage['n_slots'] / n:.2f}" if n else "-",
        _f(stage["p50_ms"], 2),
        _f(stage["p95_ms"], 2),
        _f(stage["ms_per_audio_s"]),
    ]


def _table(columns: list[str], sections: list[list[list[str]]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("run", "stage") else "right")
    for rows in sections:
        for row in rows:
            table.add_row(*row)
        table.add_section()
    return table


def _f(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mb(n: int) -> str:
    return f"{n / 1e6:,.0f} MB"


def _plot(paced: Result, path: Path) -> None:
    # Imported only now, so that its memory is not in the measured peak.
    figure = importlib.import_module("matplotlib.figure").Figure((10, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(paced["due_s"], paced["lag_ms"], linewidth=0.8)
    axes.axhline(paced["late_ms"], linestyle=":", color="gray")
    axes.set(xlabel="time of the audio, s", ylabel="lag of the slot, ms", ylim=(0, None))
    figure.savefig(path)


# ---- options ------------------------------------------------------------------------------------


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _chunks(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_count(each) for each in text.split(",")))


def _parts(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    for part in wanted:
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"{part or 'nothing'} is none of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in wanted)
