"""An archive on a Ray cluster of several nodes in one machine, of which parts are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import archives
import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from serving import wav
from voxtral_edge import cli
from voxtral_edge.archive.foreman import Tally
from voxtral_edge.archive.work import cluster as work
from voxtral_edge.cli.commands import archive as command

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# Ray has warnings of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

SOON = {  # a node that is gone is noticed at once
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
    "health_check_timeout_ms": 1000,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Three nodes with a processor each, in which a file called deadly kills who opens it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "deadly")
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        made.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def talks(tmp_path: Path, digits: np.ndarray) -> Path:
    """Twenty-four files, long enough that a kill finds some of them at work."""
    archives.fill(tmp_path / "talks", 24)
    for path in (tmp_path / "talks").rglob("*.wav"):
        samples = np.concatenate(list(vox.read(path)))
        path.write_bytes(wav(np.resize(samples, 40 * vox.RATE)))
    return tmp_path / "talks"


def process_of(actor: object) -> int:
    """The process of an actor, which its node names after it."""
    return int(ray.get(actor.__ray_call__.remote(lambda self: os.getpid())))


def test_nodes_that_come_and_go(
    cluster: object,
    talks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(SAMPLES / "digits_1.wav", talks / "deadly.wav")
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    hired: list[work.Hired] = []
    make = work.Cluster._actor

    def recorded(self: work.Cluster, *words: object) -> object:
        hired.append(make(self, *words))
        return hired[-1]

    monkeypatch.setattr(work.Cluster, "_actor", recorded)
    monkeypatch.setattr(work, "NODES_S", 0.5)

    def at_work() -> list[work.Hired]:
        return [each for each in hired if each.n_lanes > 1 and each.ended is None]

    def kill_raylet() -> None:
        nodes[0].kill_raylet()

    def kill_process() -> None:
        os.kill(process_of(at_work()[0]._actor), signal.SIGKILL)

    deeds: list[tuple[int, Callable[[], None]]] = [
        (2, lambda: ray.kill(at_work()[0]._actor)),
        (4, kill_process),
        (6, kill_raylet),
        (9, lambda: cluster.remove_node(nodes[1], allow_graceful=False)),
        (12, lambda: nodes.append(cluster.add_node(num_cpus=1))),
    ]
    n_nodes = []
    show = command._progress

    def hook(tally: Tally, taken_s: float) -> str:
        n_nodes.append(len(at_work()))
        if deeds and tally.n_done >= deeds[0][0] and at_work():
            deeds.pop(0)[1]()
        return show(tally, taken_s)

    monkeypatch.setattr(command, "_progress", hook)
    words = ["archive", talks, "-o", tmp_path / "texts", "--ray", cluster.address, "--workers", 2]
    words += ["--threads", 1, "--format", "txt", "--save-every", "0.2", "--quiet"]
    status = cli.main([*map(str, words)])
    told = capfd.readouterr().err
    assert status == 2, told  # for one of them is set aside
    assert not deeds
    assert max(n_nodes) == 3
    assert "deadly.wav is set aside: its process died" in told
    made = archives.lines(tmp_path / "texts")
    assert len(made) == len({line["source"] for line in made}) == 25
    assert [line["source"] for line in made if line["error"]] == ["deadly.wav"]
    # What nodes that went had begun was done by others, with the same words.
    (talks / "deadly.wav").unlink()
    same = ["archive", talks, "-o", tmp_path / "same", "--format", "txt", "--quiet"]
    assert cli.main([*map(str, same)]) == 0
    for path in (tmp_path / "same").rglob("*.txt"):
        there = tmp_path / "texts" / path.relative_to(tmp_path / "same")
        assert there.read_bytes() == path.read_bytes()


def test_a_signal_ends_the_run(cluster: object, talks: Path, tmp_path: Path) -> None:
    words = ["archive", talks, "-o", tmp_path / "texts", "--ray", cluster.address, "--quiet"]
    command = [sys.executable, "-m", "voxtral_edge", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        manifest, end = tmp_path / "texts" / "manifest.jsonl", time.monotonic() + 120
        while not (manifest.exists() and manifest.stat().st_size):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    archives.lines(tmp_path / "texts")  # each of which is whole


def test_no_cluster_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    words = ["archive", SAMPLES, "-o", tmp_path, "--ray", "127.0.0.1:1", "--quiet"]
    assert cli.main([*map(str, words)]) == 2
    assert "there is no Ray cluster at 127.0.0.1:1" in capfd.readouterr().err
    assert time.monotonic() - began < 60
