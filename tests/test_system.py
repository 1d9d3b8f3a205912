"""Every system answers the same questions, and nobody else asks which it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import voxtral_edge as vox

PACKAGE = Path(vox.__file__).parent
SYSTEMS = ("linux", "macos", "windows")
# What Windows has not, and what all know that ask where they are.
OF_SYSTEMS = re.compile(
    r"^\s*(?:import|from) (?:fcntl|grp|posix|pty|pwd|resource|select|syslog|termios|tty|msvcrt"
    r"|winreg)\b|\bsys\.platform\b|\bos\.name\b|\bos\.(?:pread|pwrite|fchmod|fchown|sysconf"
    r"|getloadavg|sched_getaffinity|posix_\w+|memfd_create|getuid|geteuid|fork|mkfifo)\b"
    r"|\bstart_unix_server\b|\bsignal\.SIG(?:HUP|PIPE|KILL|BREAK)\b",
    re.MULTILINE,
)

SHARED = next(
    ast.literal_eval(node.value)
    for node in ast.parse((PACKAGE / "system" / "posix.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
)


def answers(system: str) -> dict[str, str | None]:
    """What a system's file has, with the parameters of functions; None of a constant."""
    found: dict[str, str | None] = {}
    tree = ast.parse((PACKAGE / "system" / f"{system}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "posix":
            shared = answers("posix")
            found |= {name: shared[name] for name in SHARED}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = ", ".join(arg.arg for arg in node.args.args)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)]
            found |= dict.fromkeys(names)
    return found


ASKED = {
    name
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "system" and "system import here" in path.read_text(encoding="utf-8")
    for name in re.findall(r"\bhere\.(\w+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_answers_alike(system: str) -> None:
    theirs, ours = answers(system), answers("linux")
    assert {name: theirs[name] for name in ASKED} == {name: ours[name] for name in ASKED}
    assert len(ASKED) > 15


def test_all_that_is_answered_is_asked() -> None:
    theirs = answers("windows").items()
    functions = {name for name, parameters in theirs if parameters is not None}
    assert {name for name in functions if not name.startswith("_")} <= ASKED
    assert {*SHARED} <= ASKED


def test_nobody_else_asks_where_it_is() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "system":
            found = OF_SYSTEMS.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found[0]}"
