"""The one way to write a file: whole or not at all, whatever it is that has the name.

    with Output(path, inputs=identities([talk]), over=is_text) as output:
        output.write(b"...")

- A regular file is replaced when all is written, with the mode and the owner that it had. A link
  stays a link: what it points to is replaced.
- Where no other file can take the name (one that is mounted by itself, one in a folder that may not
  be written, one whose owner cannot be kept) the file that is there gets the bytes, once all of
  them are there.
- Pipes, devices and the descriptors of this process (/dev/stdout, /dev/fd/3, >(program)) are
  written straight into, and never replaced or removed.

What is read is never written, by whatever name, and neither is what is of another kind.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from ..errors import ArgumentError
from ..system import here

HEAD_BYTES = 1 << 14  # by which a file's kind is told
COPIED_BYTES = 1 << 20  # at once

Identity = tuple[int, int]  # device and inode
Kind = Callable[[bytes], bool]

_parts: set[Path] = set()  # files that have not got their names yet


class OutputError(OSError):
    """Something cannot be written; `filename` is None if it is standard output."""

    def __init__(self, filename: str | None, error: OSError) -> None:
        """Say what, and why; the reason is an OSError."""
        super().__init__(error.errno, error.strerror, filename)

    def __str__(self) -> str:
        """Return the line about it."""
        return f"cannot write to {self.filename or 'standard output'}: {self.strerror}"


def is_text(head: bytes) -> bool:
    """Whether a file that opens with these bytes is text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def is_gguf(head: bytes) -> bool:
    """Whether a file that opens with these bytes is a model."""
    return head.startswith(b"GGUF")


def is_picture(head: bytes) -> bool:
    """Whether a file that opens with these bytes is a .png, .svg or .pdf file."""
    return head.startswith((b"\x89PNG", b"%PDF")) or (is_text(head) and b"<svg" in head)


def identities(inputs: Iterable[str | os.PathLike[str] | int]) -> dict[Identity, str]:
    """Return the identities of what is read, paths and descriptors, with their names.

    Only of what writing would spoil: a device or a socket may be read and written.
    """
    found = {}
    for each in inputs:
        with contextlib.suppress(OSError, ValueError):  # reading it will tell
            state = os.fstat(each) if isinstance(each, int) else Path(each).stat()
            is_kept = stat.S_ISREG(state.st_mode) or stat.S_ISFIFO(state.st_mode)
            if is_kept and state.st_ino:  # pipes have none everywhere
                name = "standard input" if isinstance(each, int) else os.fspath(each)
                found[state.st_dev, state.st_ino] = name
    return found


def refuse_input(shown: str, state: os.stat_result, inputs: Mapping[Identity, str]) -> None:
    """Raise ArgumentError if what would be written is one of the inputs."""
    name = inputs.get((state.st_dev, state.st_ino))
    if name == shown:
        raise ArgumentError(f"{shown} is what is read: name another file to write")
    if name is not None:
        raise ArgumentError(f"{shown} is {name}, which is read: name another file to write")


class Output:
    """A file that gets all its bytes, or stays as it was, when `with` ends; see above.

    `fd` takes the bytes. With `anywhere` it is a regular file that `part` names, whatever the
    target is, for those who write here and there; what they write is copied at the end. All that
    cannot be done raises OutputError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        inputs: Mapping[Identity, str],
        over: Kind,
        make_folder: bool = False,
        anywhere: bool = False,
    ) -> None:
        """Look at what is there; nothing is written or made yet.

        inputs: what is read, which is refused; over: what kind of file may be replaced;
        make_folder: make the folder that it is in. Raises ArgumentError.
        """
        self.path = Path(path)
        self._anywhere, self._make_folder = anywhere, make_folder
        self.is_standard_output = here.descriptor(self.path) == 1
        shown = str(self.path)
        try:
            state = self.path.stat()
        except OSError as error:  # there is none, or opening it will tell
            real = os.path.realpath(self.path) if self.path.is_symlink() else self.path
            folder = Path(real).parent
            is_new = isinstance(error, (FileNotFoundError, NotADirectoryError))
            if is_new and not make_folder and not folder.is_dir():
                raise ArgumentError(
                    f"{shown}: the folder {folder} does not exist: make it first"
                ) from None
            return
        if stat.S_ISDIR(state.st_mode):
            raise ArgumentError(f"{shown} is a folder: name the file to write")
        refuse_input(shown, state, inputs)
        is_file = stat.S_ISREG(state.st_mode) and here.descriptor(self.path) is None
        if is_file and not self._fits(over):
            raise ArgumentError(
                f"{shown} is there, and of another kind than what would replace it: remove it, or "
                "name another file to write"
            )

    def __enter__(self) -> Output:
        """Open it."""
        self.part: Path | None = None
        self.fd = -1
        self._target = -1  # what is there; it gets the part's bytes if that cannot take the name
        self._takes_name = self._is_stream = False
        try:
            self._open()
        except OSError as error:
            self._clean()
            raise OutputError(str(self.path), error) from error
        except BaseException:
            self._clean()
            raise
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        try:
            write_all(self.fd, data)
        except OSError as error:
            raise OutputError(str(self.path), error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it its name, or remove it."""
        try:
            if kind is None and self.part:
                self._finish(self.part)
        except OSError as failure:
            raise OutputError(str(self.path), failure) from failure
        finally:
            self._clean()

    def _fits(self, over: Kind) -> bool:
        try:
            with self.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError:  # who may write may not always read
            return True
        return not head or over(head)

    def _open(self) -> None:
        number = here.descriptor(self.path)
        try:
            old = self.path.stat() if number is None else None
        except FileNotFoundError:
            old = None
        if number is not None or (old and not stat.S_ISREG(old.st_mode)):
            stream = os.dup(number) if number is not None else self._open_to_write()
            if self._anywhere:
                self._target, self._is_stream = stream, True
                self._new_spool()
            else:
                self.fd = stream
            return
        self._real = Path(os.path.realpath(self.path))
        if self._make_folder:
            _make_folder(self._real.parent)
        if old is None:
            self._takes_name = True
            self._new_part(self._real.parent, 0o666)
            return
        self._target = self._open_to_write()  # who may not write may not replace either
        try:
            self._new_part_like(old)
            self._takes_name = True
        except OSError as error:
            if error.errno not in here.NOT_REPLACED:
                raise
            self._remove_part()
            self._new_spool()

    def _open_to_write(self) -> int:
        return os.open(self.path, os.O_WRONLY | here.BINARY)

    def _new_part_like(self, old: os.stat_result) -> None:
        """Open a part that can take the place of a file, with its owner and mode."""
        if not os.path.samestat(old, self._real.stat()):
            raise PermissionError(errno.EPERM, "it has no name")  # another process's descriptor
        self._new_part(self._real.parent, 0o600)
        here.take_place_of(self.fd, old)

    def _new_part(self, folder: Path, mode: int) -> None:
        # A short name, so that it fits wherever the target's does.
        self.part = folder / f".{secrets.token_hex(4)}.part"
        _parts.add(self.part)
        self.fd = os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_RDWR | here.BINARY, mode)

    def _new_spool(self) -> None:
        """Open a part whose bytes are copied at the end."""
        try:
            folder = Path(tempfile.gettempdir())
        except FileNotFoundError:  # no folder may be written: it is kept in memory
            self.fd, self.part = here.spool()
        else:
            self._new_part(folder, 0o600)

    def _finish(self, part: Path) -> None:
        if self._is_stream:
            for offset in range(0, os.fstat(self.fd).st_size, COPIED_BYTES):
                write_all(self._target, here.read_at(self.fd, COPIED_BYTES, offset))
            return
        os.fsync(self.fd)
        if self._takes_name:
            is_there = self._target >= 0
            self._close()  # what is open cannot take another name everywhere, nor lose its own
            try:
                part.replace(self._real)
                return
            except OSError as error:
                if not is_there or error.errno not in here.NOT_REPLACED:
                    raise
            self.fd = os.open(part, os.O_RDONLY | here.BINARY)
            self._target = self._open_to_write()
        interruption = None
        while True:  # what has been begun is brought to its end: half of it would be worse
            try:
                _overwrite(self._target, self.fd)
                break
            except OSError:
                raise
            except BaseException as error:
                interruption = error
        if interruption:
            raise interruption

    def _clean(self) -> None:
        self._close()
        self._remove_part()

    def _close(self) -> None:
        for fd in (self._target, self.fd):
            if fd >= 0:
                os.close(fd)
        self._target = self.fd = -1

    def _remove_part(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        if self.part:
            with contextlib.suppress(OSError):  # it may not have been made
                self.part.unlink()
            _parts.discard(self.part)
        self.part = None


def _make_folder(path: Path) -> None:
    """Make a folder, and those above it, however many they are."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write to a descriptor, whether or not it waits for its reader."""
    view = memoryview(data)
    while view:
        view = view[here.write(fd, view) :]


def sweep() -> None:
    """Remove what a signal has left that came where no `with` could tidy up, if anything."""
    while _parts:
        with contextlib.suppress(OSError):  # there may be no such folder
            _parts.pop().unlink()


def _overwrite(target: int, source: int) -> None:
    """Make a regular file hold what another does; a full disk is noticed before it changes."""
    old_size, size = os.fstat(target).st_size, os.fstat(source).st_size
    if size:
        try:
            here.reserve(target, size)
        except OSError:
            os.ftruncate(target, old_size)
            raise
    for offset in range(0, size, COPIED_BYTES):
        part = memoryview(here.read_at(source, COPIED_BYTES, offset))
        while part:
            n = here.write_at(target, part, offset)
            part, offset = part[n:], offset + n
    os.ftruncate(target, size)
    os.fsync(target)
