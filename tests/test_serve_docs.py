"""Every block of docs/serve.md runs, against a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import voxtral_edge as vox
import yaml
from serving import ROOMY, Serving, serving
from test_docs import ROOT, SERVED, Block, blocks_of
from voxtral_edge.cli.entry import parser


@pytest.fixture(scope="module")
def server(demo: vox.Model) -> Iterator[Serving]:
    with serving(demo, wyoming="tcp://127.0.0.1:0", limits=ROOMY) as running:
        yield running


def here(code: str, server: Serving) -> str:
    """The code with the addresses of this server."""
    assert server.server.wyoming is not None
    code = code.replace("127.0.0.1:8000", server.address)
    return code.replace("10300", str(server.server.wyoming.port))


def run(command: list[str]) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("block", blocks_of([SERVED], "python"), ids=lambda block: block.place)
def test_python(block: Block, server: Serving) -> None:
    for package in ("openai", "mistralai", "wyoming", "websockets"):
        if f"from {package}" in block.code:
            pytest.importorskip(package)
    run([sys.executable, "-c", here(block.code, server)])


def test_compose() -> None:
    """What the example for Home Assistant names is there, and its command can be run."""
    ((block,),) = [blocks_of([SERVED], "yaml")]
    service = yaml.safe_load(block.code)["services"]["voxtral"]
    docker_file = (ROOT / service["build"]["dockerfile"]).read_text()
    command = service["command"].split()
    args = parser().parse_args(command)
    assert 'ENTRYPOINT ["voxtral"]' in docker_file
    assert args.model.startswith(service["volumes"][0].split(":")[1])
    for published in service["ports"]:
        port = published.split(":")[1]
        assert f":{port}" in args.wyoming
        assert port in docker_file.partition("EXPOSE ")[2].split("\n")[0].split()
    assert args.insecure  # there is no way to give Wyoming a token


@pytest.mark.parametrize("block", blocks_of([SERVED], "console"), ids=lambda block: block.place)
def test_console(block: Block, server: Serving) -> None:
    for part in block.code.split("$ ")[1:]:
        command, _, expected = part.partition("\n")
        output = run(["bash", "-o", "pipefail", "-c", here(command, server)])
        for line in expected.splitlines():
            assert line == "..." or line.strip() in output, f"{line!r} is not in {output!r}"
