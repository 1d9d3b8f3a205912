"""Mistakes made on purpose, one at a time, in a copy: which of them does no test notice?

    scripts/mutate.py csrc/kv.c csrc/text.c          [--sample 100] [--seed 1] [--quick] [--list]
    scripts/mutate.py convert/reading/tekken.py

A mutant of a C file, with assertions and sanitizers, is linked to the C tests, and run against
those that concern the file, the shortest first, until one fails, crashes or takes ten times as long
as it should. One of a Python file of the converter runs against the tests of the converter. Mutants
that do not compile, or whose object is that of the source, are none. Survivors are listed; --sample
takes so many of each file, chosen by the seed. Needs what scripts/install test has made; prints a
table for docs/testing.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "mutate"
PATIENCE = 10  # times what a test takes, and as many seconds


class Mutant(NamedTuple):
    """One mistake: where, what was there, what is there now, and the whole file."""

    line: int
    old: str
    new: str
    source: str


# ---- C ------------------------------------------------------------------------------------------

# The tests of a file, where they are not one of its name, and those of all files.
C_OWN = {"gate": ("guard",), "kv": ("kv", "memory"), "state": ("stream",)}
C_QUICK, C_WHOLE = ("fuzz_state", "fuzz_stream"), ("batch", "memory", "stream")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
NO_END = "hard_rss_limit_mb=4096:allocator_may_return_null=1"  # of memory may be asked for
C_SKIPPED = re.compile(
    r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|^#.*?$|\bassert\([^;]*;|static_assert[^;]*;",
    re.DOTALL | re.MULTILINE,
)
C_SWAPS = {
    " < ": (" <= ", " >= "), " <= ": (" < ",), " > ": (" >= ", " <= "), " >= ": (" > ",),
    " == ": (" != ",), " != ": (" == ",), " && ": (" || ",), " || ": (" && ",),
    " + ": (" - ",), " - ": (" + ",), " * ": (" / ",), " / ": (" * ",), " % ": (" / ",),
    " += ": (" -= ", " = "), " -= ": (" += ",), "++": ("--",), "--": ("++",), " & ": (" | ",),
    " | ": (" & ",), " ^ ": (" | ",), " |= ": (" &= ",),
}  # fmt: skip
C_TOKENS = re.compile("|".join(re.escape(word) for word in sorted(C_SWAPS, key=len, reverse=True)))
C_NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(f?)(?![\w.])")
C_CONDITION = re.compile(r"\b(?:if|while) (\()")
C_RETURN = re.compile(r"\breturn ([^;]+);")
C_STATEMENT = re.compile(r"^ +(?!return|if|for|while|else|case|break|continue|goto|static|const "
                         r"|typedef|enum)[^;{}=]*(?:[-+*/|&^]?= [^;{}]*|\([^;{}]*\)|\+\+|--);$",
                         re.MULTILINE)  # fmt: skip
C_DECLARATION = re.compile(r"^ +(?:[a-z_0-9]+ )+\**\w+(?:\[[^]]*\])? =|^ +(?:[a-z_0-9]+ )+\**\w+;")


def blank(source: str) -> str:
    """The source with comments, texts and assertions as spaces, so that places stay."""
    return C_SKIPPED.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)


def closing(text: str, at: int) -> int:
    """The place of the bracket that closes the one at a place."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError(at)


def c_mutants(source: str) -> Iterator[Mutant]:
    """Every mistake that is made in a C file."""
    text = blank(source)

    def mutant(start: int, end: int, new: str) -> Mutant:
        line = source.count("\n", 0, start) + 1
        return Mutant(line, source[start:end], new, source[:start] + new + source[end:])

    for token in C_TOKENS.finditer(text):
        for new in C_SWAPS[token[0]]:
            yield mutant(token.start(), token.end(), new)
    for number in C_NUMBER.finditer(text):
        digits, suffix = number.groups()
        value = float(digits) * 1.5 if "." in digits else int(digits) + 1
        yield mutant(number.start(), number.end(), f"{value}{suffix}")
        if digits not in ("0", "1") and "." not in digits:
            yield mutant(number.start(), number.end(), f"{int(digits) - 1}{suffix}")
    for condition in C_CONDITION.finditer(text):
        start, end = condition.start(1), closing(text, condition.start(1)) + 1
        yield mutant(start, end, "(0)")
        if condition[0].startswith("if"):
            yield mutant(start, end, "(1)")
    for value in C_RETURN.finditer(text):
        yield mutant(value.start(1), value.end(1), "1" if value[1] == "0" else "0")
    for statement in C_STATEMENT.finditer(text):
        if not C_DECLARATION.match(statement[0]):
            lines = "\n" * statement[0].count("\n")  # assertions say theirs
            yield mutant(statement.start(), statement.end(), ";" + lines)


class CTests:
    """The C tests, linked anew with one object that was made of a spoilt file."""

    def __init__(self, *, is_quick: bool) -> None:
        self.others = C_QUICK if is_quick else C_QUICK + C_WHOLE
        self.build = BUILD / "c"
        self.build.mkdir(parents=True, exist_ok=True)
        self.spoilt = self.build / "tests" / f"spoilt-{os.getpid()}"  # and .c, .o
        if not (self.build / "demo-f32.gguf").exists():
            run([ROOT / "scripts/models", self.build])
        ggml = run([ROOT / "scripts/ggml_source"]).strip()
        settings = {"VOXTRAL_TESTS": "ON", "VOXTRAL_GGML_DIR": ggml, "CMAKE_BUILD_TYPE": "None",
                    "CMAKE_C_FLAGS": "-O2"}  # fmt: skip
        defines = [f"-D{name}={value}" for name, value in settings.items()]
        run(["cmake", "-S", ROOT / "csrc", "-B", self.build, "-G", "Ninja", *defines])
        run(["ninja", "-C", self.build])
        listed = json.loads(run(["ctest", "--test-dir", self.build, "--show-only=json-v1"]))
        self.tests = {test["name"]: test["command"] for test in listed["tests"]}
        self.seconds: dict[str, float] = {}
        # A mutant may ask for no end of memory.
        self.env = os.environ | {
            "ASAN_OPTIONS": "hard_rss_limit_mb=4096:allocator_may_return_null=1"
        }

    def names(self, path: Path) -> list[str]:
        """The tests of a file, the shortest first; what they take is measured."""
        own = C_OWN.get(path.stem, (path.stem,))
        names = [name for name in dict.fromkeys((*own, *self.others)) if name in self.tests]
        for name in names:
            if name not in self.seconds:
                start = time.monotonic()
                run(self.tests[name], cwd=self.build)
                self.seconds[name] = time.monotonic() - start
        return sorted(names, key=self.seconds.__getitem__)

    def made_by(self, target: str) -> list[str]:
        """The command that makes a target."""
        last = run(["ninja", "-C", self.build, "-t", "commands", target]).splitlines()[-1]
        return shlex.split(last.removeprefix(": && ").removesuffix(" && :"))

    def compile(self, path: Path, source: str, *options: str) -> bytes:
        """The object of a source in the place of a file; none if it does not compile."""
        file, made = self.spoilt.with_suffix(".c"), self.spoilt.with_suffix(".o")
        file.write_text(source)
        made.unlink(missing_ok=True)
        command = self.made_by(f"CMakeFiles/voxtral.dir/{path.relative_to('csrc')}.o")
        at = command.index("-MD")  # from there on: what to make of which file
        subprocess.run([*command[:at], *options, f"-iquote{(ROOT / path).parent}",
                        f"-fmacro-prefix-map={file}={path.name}", "-o", made, "-c", file],
                       cwd=self.build, capture_output=True)  # fmt: skip
        return made.read_bytes() if made.exists() else b""

    def keep(self, path: Path) -> None:
        """Keep what the compiler makes of the file as it is."""
        self.object = self.compile(path, (ROOT / path).read_text())

    def try_all(self, path: Path, names: Sequence[str], mutant: Mutant) -> str:
        """What became of a mutant: the name of the test that killed it, "none", or "survived"."""
        if self.compile(path, mutant.source) in (b"", self.object):
            return "none"
        self.compile(path, mutant.source, *SANITIZED)
        for name in names:
            program, *arguments = self.tests[name]
            link = self.made_by(f"tests/{Path(program).name}")
            at = link.index("-o")
            run([*link[:at], *SANITIZED, self.spoilt.with_suffix(".o"), "-o", self.spoilt,
                 *link[at + 2 :]], cwd=self.build)  # fmt: skip
            patience = PATIENCE * (self.seconds[name] + 1)
            try:
                done = subprocess.run([self.spoilt, *arguments], cwd=self.build, timeout=patience,
                                      capture_output=True, env=self.env)  # fmt: skip
            except subprocess.TimeoutExpired:
                return name
            if done.returncode:
                return name
        return "survived"

    def restore(self, path: Path) -> None:
        """Leave nothing of the last mutant."""
        for each in (self.spoilt, self.spoilt.with_suffix(".c"), self.spoilt.with_suffix(".o")):
            each.unlink(missing_ok=True)


# ---- Python -------------------------------------------------------------------------------------

PY_QUICK = ("tests/test_convert_limits.py", "tests/test_convert.py", "tests/test_groups.py",
            "tests/test_turn_head.py", "tests/test_fuzz.py",
            "-k", "not any_value and not end_within and not frames",
)  # fmt: skip
PY_WHOLE = (*PY_QUICK[:-2], "tests/test_faults.py")
PY_COMPARES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
PY_SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip


def py_changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[i] = PY_COMPARES[type(operator)]()
            yield new
    elif isinstance(node, ast.BoolOp):
        new_bool = copy.deepcopy(node)
        new_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield new_bool
    elif isinstance(node, ast.BinOp) and type(node.op) in PY_SUMS:
        new_sum = copy.deepcopy(node)
        new_sum.op = PY_SUMS[type(node.op)]()
        yield new_sum
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield ast.Constant(node.value + 1)
    elif isinstance(node, (ast.If, ast.IfExp)):
        for value in (True, False):
            new_if = copy.deepcopy(node)
            new_if.test = ast.Constant(value)
            yield new_if
    elif isinstance(node, ast.Raise):
        yield ast.Pass()


def py_mutants(source: str) -> Iterator[Mutant]:
    """Every mistake that is made in a Python file; annotations and docstrings are let be."""
    tree = ast.parse(source)
    let_be = {
        id(part)
        for node in ast.walk(tree)
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if note
        for part in ast.walk(note)
    }
    for node in ast.walk(tree):
        if id(node) in let_be:
            continue
        for new in py_changes(node):
            text = ast.unparse(ast.fix_missing_locations(Change(node, new).visit(tree)))
            Change(new, node).visit(tree)  # back again
            old, now = (ast.unparse(each).split("\n")[0] for each in (node, new))
            yield Mutant(node.lineno, old, now, text)


class Change(ast.NodeTransformer):
    """Puts a node in the place of another."""

    def __init__(self, at: ast.AST, new: ast.AST) -> None:
        self.at, self.new = at, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.at else self.generic_visit(node)


class PyTests:
    """The tests of the converter, with a copy of the installed package that may be spoilt."""

    def __init__(self, *, is_quick: bool) -> None:
        self.tests = PY_QUICK if is_quick else PY_WHOLE
        self.at = BUILD / "package"
        import voxtral_edge

        shutil.copytree(Path(voxtral_edge.__file__).parent, self.at / "voxtral_edge",
                        dirs_exist_ok=True)  # fmt: skip
        self.env = os.environ | {"PYTHONPATH": str(self.at), "PYTHONDONTWRITEBYTECODE": "1"}
        start = time.monotonic()
        run([*self.command(), *self.tests], env=self.env)
        self.seconds = time.monotonic() - start

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]

    def names(self, path: Path) -> Sequence[str]:
        return self.tests

    def keep(self, path: Path) -> None:
        self.restore(path)

    def restore(self, path: Path) -> None:
        shutil.copy(ROOT / path, self.at / "voxtral_edge" / path)

    def try_all(self, path: Path, names: Sequence[str], mutant: Mutant) -> str:
        (self.at / "voxtral_edge" / path).write_text(mutant.source)
        try:
            done = subprocess.run([*self.command(), *names], cwd=ROOT, env=self.env,
                                  capture_output=True, text=True,
                                  timeout=3 * self.seconds + 60)  # fmt: skip
        except subprocess.TimeoutExpired:
            return "time"
        if done.returncode == 0:
            return "survived"
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        return failed[1] if failed else "pytest"


# ---- both ---------------------------------------------------------------------------------------


def run(command: Sequence[object], **options: object) -> str:
    """What a program prints, which must succeed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"mutate: {command[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return str(done.stdout)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("files", nargs="+", type=Path)
    options.add_argument("--sample", type=int, help="mutants of each file (default: all)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="no tests of whole transcriptions")
    options.add_argument("--list", action="store_true", help="say what each was killed by")
    args = options.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    table = []
    tests: dict[str, CTests | PyTests] = {}
    for path in args.files:
        make = c_mutants if path.suffix == ".c" else py_mutants
        every = sorted(make((ROOT / path).read_text()), key=lambda m: (m.line, m.old, m.new))
        chosen = every
        if args.sample and args.sample < len(every):
            chosen = random.Random(args.seed).sample(every, args.sample)
        if path.suffix not in tests:
            kind = CTests if path.suffix == ".c" else PyTests
            tests[path.suffix] = kind(is_quick=args.quick)
        runner, n_killed, survivors = tests[path.suffix], 0, []
        runner.keep(path)
        names = runner.names(path)
        try:
            for mutant in chosen:
                fate = runner.try_all(path, names, mutant)
                n_killed += fate not in ("none", "survived")
                where = f"{path}:{mutant.line}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}"
                if fate == "survived":
                    survivors.append(where)
                if fate == "survived" or args.list:
                    print(f"{where}: {fate}", flush=True)
        finally:
            runner.restore(path)
        n = n_killed + len(survivors)
        share = f"{n_killed / n:.1%}" if n else ""
        table.append(f"| `{path}` | {len(every)} | {n} | {n_killed} | {share} |")
        print(table[-1], flush=True)
    print("| file | mutants | tried | killed | |\n|---|---|---|---|---|", *table, sep="\n")


if __name__ == "__main__":
    main()
