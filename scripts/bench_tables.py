"""Print the measurements of `voxtral bench` or scripts/side_by_side.py as Markdown tables.

    for i in 1 2 3 4 5; do voxtral bench -m MODEL --seconds 60 --json run$i.json; done
    python scripts/bench_tables.py run?.json

Files of the same measurement, repeated, become one set of tables: each number is the median, and
where the runs differ in the digits shown, the least and the greatest follow in brackets. Files that
differ in model, audio, options or machine are refused.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Cell = Callable[[Result], float | None]

SAME = ("model", "type", "kernels", "n_params", "encoder_window", "decoder_window", "threads",
        "delay_ms", "audio_s", "heard_s", "version")  # fmt: skip
SIDES = ("audio_s", "threads", "delay_ms")
SIDE_ROWS = {  # of side_by_side: name, digits
    "rtf": ("RTF", 3),
    "open_s": ("open a stream, s", 3),
    "call_p50_s": ("a chunk of 480 ms, p50, s", 3),
    "call_p95_s": ("p95", 3),
    "finish_s": ("last words, s", 2),
    "load_s": ("load, s", 2),  # before the run, and no part of its time
    "peak_rss_mb": ("peak memory, MB", 0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    try:
        results = [json.loads(path.read_text(encoding="utf-8")) for path in args.files]
        print(side_by_side(results) if isinstance(results[0]["runs"], list) else bench(results))
    except OSError as error:
        print(f"bench_tables: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        print("bench_tables: a file is none of voxtral bench or side_by_side", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"bench_tables: {error}", file=sys.stderr)
        return 2
    return 0


def bench(results: list[Result]) -> str:
    """All tables of repeated measurements."""
    first = results[0]
    check_same(results, [*SAME, "cpu", "runs"], lambda r, k: list(r[k]) if k == "runs" else
               r["machine"]["cpu"] if k == "cpu" else r[k])  # fmt: skip
    here = first["machine"]
    lines = [
        f"{first['model']}, {first['type']}, {first['audio_s']:.1f} s of audio, delay "
        f"{first['delay_ms']} ms, threads: {first['threads'] or 'default'}, windows "
        f"{first['encoder_window']} and {first['decoder_window']}; {here['cpu']}, "
        f"{here['n_cpus']} processors, kernels {first['kernels']}, {here['system']}; "
        f"{len(results)} runs, load {spread((r['machine']['load_average'] for r in results), 1)}",
        "",
        *table("| | |", memory_rows(results)),
        "",
        *table(
            "| run | RTF | slots per pass | guesses right | a call, p50, ms | p95 |",
            [run_row(name, results) for name in first["runs"]],
        ),
        "",
        *table(
            "| run | stage | passes | slots per pass | ms, p50 | p95 | ms per s of audio |",
            [
                stage_row(name, stage, results)
                for name, run in first["runs"].items()
                for stage in run["stages"]
            ],
        ),
        "",
        *table("| stage | slots of a pass | ms, p50 |", width_rows(results)),
    ]
    if "paced" in first["runs"]:
        lines += ["", *table("| paced | |", paced_rows(results))]
    return "\n".join(lines)


def memory_rows(results: list[Result]) -> Iterable[list[str]]:
    rows: list[tuple[str, Cell, int]] = [("load, ms", lambda r: r["load_ms"], 0)]
    for i, name in enumerate(("first", "second")):
        rows += [
            (f"open the {name} stream, ms", lambda r, i=i: r["streams"][i]["open_ms"], 1),
            (f"first slot of the {name}, ms", lambda r, i=i: r["streams"][i]["first_slot_ms"], 0),
        ]
    rows += [
        (f"{name}, MB", lambda r, key=key: r["memory"][f"{key}_bytes"] / 1e6, 0)
        for name, key in (
            ("peak memory", "peak_rss"),
            ("weights", "weight"),
            ("a stream", "state"),
            ("scratch", "scratch"),
        )
    ]
    return [[name, spread(map(cell, results), digits)] for name, cell, digits in rows]


def run_row(name: str, results: list[Result]) -> list[str]:
    runs = [result["runs"][name] for result in results]
    return [
        name,
        spread((run["rtf"] for run in runs), 3),
        spread((ratio(run["n_slots"], run["n_decoder_passes"]) for run in runs), 2),
        spread((ratio(100 * run["n_agreed"], run["n_drafted"]) for run in runs), 0, " %"),
        spread((run.get("call_p50_ms") for run in runs), 1),
        spread((run.get("call_p95_ms") for run in runs), 1),
    ]


def stage_row(name: str, stage: str, results: list[Result]) -> list[str]:
    stages = [result["runs"][name]["stages"][stage] for result in results]
    return [
        name,
        stage,
        spread((each["n_passes"] for each in stages), 0),
        spread((ratio(each["n_slots"], each["n_passes"]) for each in stages), 2),
        *(spread((each[key] for each in stages), 2) for key in ("p50_ms", "p95_ms")),
        spread((each["ms_per_audio_s"] for each in stages), 1),
    ]


def width_rows(results: list[Result]) -> Iterable[list[str]]:
    """Medians by width, of all runs of a result together: what a pass costs."""
    found: dict[tuple[str, int], list[float]] = {}
    for result in results:
        for run in result["runs"].values():
            for stage in ("encoder", "decoder", "head"):
                for width, each in run["stages"][stage]["by_width"].items():
                    found.setdefault((stage, int(width)), []).append(each["p50_ms"])
    order = ("encoder", "decoder", "head")
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [[stage, str(width), spread(found[stage, width], 2)] for stage, width in keys]


def paced_rows(results: list[Result]) -> Iterable[list[str]]:
    paced = [result["runs"]["paced"] for result in results]
    late = f"slots later than {paced[0]['late_ms']:.0f} ms, %"
    rows: list[tuple[str, Cell, int]] = [
        ("lag, p50, ms", lambda run: run["lag_p50_ms"], 0),
        ("p95", lambda run: run["lag_p95_ms"], 0),
        ("greatest", lambda run: run["lag_max_ms"], 0),
        (late, lambda run: percent(run["late_share"]), 1),
        ("first text, s", lambda run: run["first_text_s"], 2),
        ("its lag, ms", lambda run: run["first_text_lag_ms"], 0),
        ("last words after the last sample, ms", lambda run: run["finish_ms"], 0),
    ]
    return [[name, spread(map(cell, paced), digits)] for name, cell, digits in rows]


def side_by_side(results: list[Result]) -> str:
    """The table of both programs, of all runs in all files."""
    check_same(results, list(SIDES), lambda r, k: r[k])
    runs = [run for result in results for run in result["runs"]]
    rows = []
    for mode in dict.fromkeys(run["mode"] for run in runs):
        for key, (name, digits) in SIDE_ROWS.items():
            ours, peer = (
                [r[key] for r in runs if r["mode"] == mode and r["program"] == p and key in r]
                for p in ("ours", "peer")
            )
            if ours and peer:
                times = ratio(statistics.median(peer), statistics.median(ours))
                cells = (spread(ours, digits), spread(peer, digits), spread([times], 2))
                rows.append([f"{mode}: {name}", *cells])
    first = results[0]
    n = sum(result["repeat"] for result in results)
    return "\n".join(
        [
            f"{first['audio_s']:.1f} s of audio, {first['threads']} threads, delay "
            f"{first['delay_ms']} ms, {n} runs",
            "",
            *table("| | voxtral-edge | transcribe-cpp | ratio |", rows),
        ]
    )


def check_same(
    results: list[Result], keys: list[str], get: Callable[[Result, str], object]
) -> None:
    for key in keys:
        values = {json.dumps(get(result, key)) for result in results}
        if len(values) > 1:
            raise ValueError(f"the files differ in {key}: {' and '.join(sorted(values))}")


def spread(values: Iterable[float | None], digits: int, unit: str = "") -> str:
    """The median, and (least to greatest) if they do not look the same."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    median, low, high = (f"{f(known):,.{digits}f}" for f in (statistics.median, min, max))
    return f"{median}{unit}" if low == high else f"{median}{unit} ({low} to {high})"


def ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def table(head: str, rows: Iterable[list[str]]) -> list[str]:
    return [head, "|---" * (head.count("|") - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


if __name__ == "__main__":
    sys.exit(main())
