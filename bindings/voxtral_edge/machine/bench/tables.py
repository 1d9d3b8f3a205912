"""The tables of a measurement, for people, and the picture of a paced run's lag."""

from __future__ import annotations

import importlib
import io
from typing import Any

from ...console import lines
from .slots import STAGES, Result

PIPE_WIDTH = 120


class _Page:
    """Text with tables, as wide as the terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._text = io.StringIO()
        width = lines.columns(PIPE_WIDTH)
        console = Console(
            file=self._text, width=width, highlight=False, markup=False, soft_wrap=True
        )
        self.print = console.print

    def text(self) -> str:
        """Return all of it, ending with a newline."""
        return "".join(line.rstrip() + "\n" for line in self._text.getvalue().splitlines())


def _head(result: Result) -> str:
    """Return what was measured, and where."""
    here, threads = result["machine"], result["threads"] or "default"
    heard = f" after {result['heard_s']:g} s" if result["heard_s"] else ""
    return (
        f"{result['model']}, {result['type']}, {result['n_params'] / 1e6:.0f} M parameters; "
        f"{result['audio_s']:.1f} s of audio{heard}, delay {result['delay_ms']} ms, "
        f"threads: {threads}, "
        f"kernels: {result['kernels']}\n"
        f"{here['cpu']}, {here['n_cpus']} processors ({' '.join(here['cpu_flags'])}), "
        f"{here['memory_bytes'] / 2**30:.0f} GiB, {here['system']}, "
        f"load {_f(here['load_average'])}\n"
    )


def report_streams(result: Result) -> str:
    """Return the table of a result of streams.measure(), which ends with a newline."""
    page = _Page()
    page.print(_head(result))
    columns = ["run", "audio s/s", "lag p50", "p95", "worst p95", "max", "late", "columns/pass",
               "own", "encoder slots", "own", "MB/stream"]  # fmt: skip
    rows = [
        [
            f"{run['n_streams']} {run['kind']}",
            f"{run['audio_s_per_s']:.2f}",
            *(_f(run[f"lag_{name}_ms"], 0) for name in ("p50", "p95", "p95_worst_stream", "max")),
            f"{run['late_share']:.1%}",
            *(f"{run[name]:.1f}" for name in ("decoder_columns", "decoder_own")),
            *(f"{run[name]:.1f}" for name in ("encoder_slots", "encoder_own")),
            f"{run['memory_per_stream_bytes'] / 1e6:.0f}",
        ]
        for run in result["runs"]
    ]
    page.print(_table(columns, [rows]))
    page.print(
        f"paced in chunks of {result['chunk_ms']} ms, lag in ms, late beyond "
        f"{result['late_ms']:.0f} ms; peak memory {_mb(result['peak_rss_bytes'])}"
    )
    return page.text()


def report(result: Result) -> str:
    """Return the tables of a result of measure(), which end with a newline."""
    console = _Page()
    runs, memory = result["runs"], result["memory"]
    console.print(_head(result))
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
    return console.text()


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


def picture(paced: Result, kind: str) -> bytes:
    """Return a drawing of the lag of a paced run over its time: a .png, .svg or .pdf file."""
    # Imported only now, so that its memory is not in the measured peak.
    figure = importlib.import_module("matplotlib.figure").Figure((10, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(paced["due_s"], paced["lag_ms"], linewidth=0.8)
    axes.axhline(paced["late_ms"], linestyle=":", color="gray")
    axes.set(xlabel="time of the audio, s", ylabel="lag of the slot, ms", ylim=(0, None))
    file = io.BytesIO()
    figure.savefig(file, format=kind.removeprefix("."))
    return file.getvalue()
