"""What users can name stays as it is, and what is said twice is said the same."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import voxtral_edge as vox
from voxtral_edge._voxtral import ffi, lib
from voxtral_edge.cli import entry
from voxtral_edge.console import status
from voxtral_edge.streaming.options import StreamOptions, core_params

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bindings" / "voxtral_edge"

PUBLIC = {
    "Alternative": ["confidence", "text"],
    "AsyncStream": ["aclose", "closed", "end", "feed", "finish", "flush", "pending", "pieces",
                    "push", "reset", "save", "slots", "turns"],
    "Device": ["index", "is_default", "n_channels", "name", "rate"],
    "Microphone": ["stop"],
    "Model": ["astream", "close", "closed", "load_astream", "load_stream", "pieces", "slots",
              "stream", "token_bytes", "transcribe"],
    "Piece": ["alternatives", "confidence", "end_ms", "start_ms", "text", "token", "turn",
              "turn_confidences"],
    "Segment": ["end_ms", "start_ms", "text"],
    "Stats": ["decoder_ns", "encoder_ns", "head_ns", "mel_ns", "n_accepted", "n_agreed",
              "n_decoder_passes", "n_decoder_shared", "n_decoder_slots", "n_drafted",
              "n_encoder_passes", "n_encoder_shared", "n_encoder_slots", "n_prefill_passes",
              "n_prefill_slots", "n_skipped", "prefill_ns", "scratch_bytes", "state_bytes",
              "weight_bytes"],
    "Stream": ["close", "closed", "embeddings", "end", "feed", "finish", "flush", "memory",
               "model", "pending", "push", "reset", "save", "slots", "stats", "tensor", "turns",
               "watch"],
    "Transcript": ["delay_ms", "duration_s", "model", "of", "pieces", "segments", "slots", "text",
                   "to_json", "to_srt", "to_tsv", "to_vtt", "tokens", "words"],
    "Turn": ["confidence", "end_ms", "start_ms", "state"],
    "Word": ["alternatives", "confidence", "end_ms", "start_ms", "text"],
}  # fmt: skip
# Their docstrings name the fields.
DATA = ("Alternative", "Device", "Piece", "Segment", "Stats", "Transcript", "Turn", "Word")
ATTRIBUTES = [
    "name", "description", "file_type", "kernels", "n_params", "n_bytes", "n_vocab", "n_special",
    "token_pad", "token_word", "default_delay_ms", "encoder_window", "decoder_window",
    "decoder_dim", "has_turns", "n_lanes",
]  # fmt: skip
ERRORS = [
    "ArgumentError", "AudioError", "AudioTruncated", "ComputeError", "ModelClosed", "ModelError",
    "ModelFormatError", "ModelNotFound", "OutOfMemory", "StreamBusy", "StreamClosed", "StreamError",
    "StreamFinished", "StreamFormatError", "VoxtralError",
]  # fmt: skip
OTHERS = ["DELAYS_MS", "RATE", "SLOT_MS", "TURN_STATES", "__version__", "devices", "read",
          "resample", "words"]  # fmt: skip


def test_all() -> None:
    assert sorted(vox.__all__) == sorted([*PUBLIC, *ERRORS, *OTHERS])
    assert len(set(vox.__all__)) == len(vox.__all__)
    for name in vox.__all__:
        assert getattr(vox, name) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_members(name: str) -> None:
    kind = getattr(vox, name)
    assert [member for member in sorted(dir(kind)) if not member.startswith("_")] == PUBLIC[name]
    for member in PUBLIC[name]:
        assert inspect.getdoc(getattr(kind, member)) or name in DATA


def test_model_attributes(tiny: vox.Model) -> None:
    assert [name for name in vars(tiny) if not name.startswith("_")] == ATTRIBUTES
    assert all(f"`{name}`" in (vox.Model.__doc__ or "") for name in ATTRIBUTES)


def test_numbers_are_those_of_the_core() -> None:
    assert vox.RATE == 16_000
    assert vox.SLOT_MS * vox.RATE // 1000 == 1280
    params = lib.vox_stream_default_params()
    assert not any(getattr(params, name) for name, _ in ffi.typeof(params).fields)
    params = lib.vox_model_default_params()
    assert not any(getattr(params, name) for name, _ in ffi.typeof(params).fields)


def test_every_way_in_has_the_same_options() -> None:
    """Functions, methods and command: the same names, keyword-only, the same defaults."""
    ways: list[Callable[..., object]] = [
        vox.Model.transcribe, vox.Model.pieces, vox.Model.slots, vox.Model.stream,
        vox.Model.astream,
    ]  # fmt: skip
    for way in ways:
        options = inspect.signature(way).parameters["options"]
        assert options.kind is inspect.Parameter.VAR_KEYWORD
        assert options.annotation == "Unpack[StreamOptions]"
    assert {
        name: option.default for name, option in inspect.signature(core_params).parameters.items()
    } == {
        "delay_ms": None,
        "pad_guard_ms": None,
        "silence_gate_ms": None,
        "confidence": False,
        "alternatives": 0,
        "background": False,
        "words": (),
        "words_bonus": None,
        "gain": None,
    }
    assert [*StreamOptions.__annotations__] == [*inspect.signature(core_params).parameters]
    explained = vox.Model.stream.__doc__ or ""
    assert all(f"`{name}`" in explained for name in StreamOptions.__annotations__)
    for command in (["transcribe", "x.wav"], ["stream", "-"], ["plot", "x.wav", "-o", "x.png"]):
        args = entry.parser().parse_args(command)
        assert (args.delay, args.threads, args.model, args.window) == (None,) * 4
    model = inspect.signature(vox.Model).parameters
    assert [(name, option.default) for name, option in model.items()] == [
        ("path", None), ("threads", None), ("cache", True), ("window_s", None)
    ]  # fmt: skip
    assert model["threads"].kind is inspect.Parameter.KEYWORD_ONLY


def test_async_verbs_are_those_of_the_stream() -> None:
    """Same names and parameters, awaited; close() is aclose() there, as asyncio has it."""
    for name in set(PUBLIC["Stream"]) & set(PUBLIC["AsyncStream"]):
        sync, awaited = getattr(vox.Stream, name), getattr(vox.AsyncStream, name)
        if isinstance(sync, property):
            assert isinstance(awaited, property)
            continue
        assert [*inspect.signature(sync).parameters] == [*inspect.signature(awaited).parameters]
        assert inspect.iscoroutinefunction(awaited) or inspect.isasyncgenfunction(awaited)


# ---- the rooms --------------------------------------------------------------------------------


def imported(path: Path, modules: set[str]) -> set[str]:
    """Which of the modules a file of the package imports when it runs, at once or later."""
    here = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    found = set()
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            stack += node.orelse
            continue
        stack += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            name = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            of_it = {f"{name}.{alias.name}" for alias in node.names}
            found |= of_it & modules if of_it <= modules else {name, *of_it} & modules
    return found


def test_no_module_imports_what_imports_it() -> None:
    files = {
        ".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {name: imported(path, {*files}) - {name} for name, path in files.items()}
    del graph[PACKAGE.name]  # what users name, which nothing inside needs
    while leaves := [name for name, needs in graph.items() if not needs & {*graph}]:
        for name in leaves:
            del graph[name]
    assert not graph, "these modules import one another in a circle"


# ---- the compiled module ------------------------------------------------------------------------


def declarations() -> dict[str, list[str]]:
    """Functions of the header: the names of their parameters."""
    text = (ROOT / "csrc" / "voxtral.h").read_text(encoding="utf-8")
    text = text.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = {}
    for name, parameters in re.findall(r"\b(vox_\w+)\s*\(([^)]*)\)\s*;", text):
        names = [re.search(r"(\w+)\s*$", p)[1] for p in parameters.split(",")]
        found[name] = [] if names == ["void"] else names
    return found


def stub() -> tuple[dict[str, list[str]], list[str]]:
    """Functions of the stub likewise, and its constants."""
    tree = ast.parse((PACKAGE / "_voxtral.pyi").read_text(encoding="utf-8"))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "_Lib").body
    functions = {
        n.name: [a.arg for a in n.args.posonlyargs[1:]]
        for n in body
        if isinstance(n, ast.FunctionDef)
    }
    for name in ("drop_model", "drop_stream"):  # what build_ffi.py adds
        assert len(functions.pop(name)) == 1
    return functions, [n.target.id for n in body if isinstance(n, ast.AnnAssign)]


def test_stub_is_the_header() -> None:
    functions, constants = stub()
    assert functions == declarations()
    assert len(functions) > 15
    assert sorted([*functions, *constants, "drop_model", "drop_stream"]) == sorted(dir(lib))


def test_stats_are_those_of_the_header() -> None:
    names = [name for name, _ in ffi.typeof("vox_stats").fields]
    assert [field.name for field in dataclasses.fields(vox.Stats)] == names


def test_stub_counts_what_cffi_counts() -> None:
    for name, parameters in stub()[0].items():
        assert len(ffi.typeof(getattr(lib, name)).args) == len(parameters), name


# ---- the command --------------------------------------------------------------------------------


def test_command_is_installed() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{vox.__version__}"' in project
    assert [e.value for e in entry_points(group="console_scripts", name="voxtral")] == [
        "voxtral_edge.cli:main"
    ]


def test_exit_statuses_are_documented() -> None:
    for number in (status.OK, status.FAILURE, status.BAD_INPUT, status.INTERRUPTED, status.UNREAD):
        assert re.search(rf"\b{number}\b", entry.__doc__ or "")
