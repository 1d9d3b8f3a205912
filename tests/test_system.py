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


def answers(system: str) -> dict[str, str]:
    """The names that a system's file lists, with their parameters; "" of a constant."""
    found, tree = {}, ast.parse((PACKAGE / "system" / f"{system}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "posix":
            shared = answers("posix")
            found |= {alias.name: shared[alias.name] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = ", ".join(arg.arg for arg in node.args.args)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)]
            found |= dict.fromkeys(names, "")
            if "__all__" in names:
                listed = ast.literal_eval(node.value)
    return found if system == "posix" else {name: found[name] for name in listed}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_answers_alike(system: str) -> None:
    assert answers(system) == answers("linux")
    assert len(answers(system)) > 15


def test_all_that_is_asked_is_answered() -> None:
    asked = {
        name
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "system" and "system import here" in path.read_text(encoding="utf-8")
        for name in re.findall(r"\bhere\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert asked == {*answers("linux")}


def test_nobody_else_asks_where_it_is() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "system":
            found = OF_SYSTEMS.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found[0]}"
