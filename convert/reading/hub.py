"""fetch(): a checkpoint that is named as on a hub, ORG/NAME, becomes a folder of this machine.

huggingface_hub downloads, goes on after a broken connection, keeps what it has in its cache, and
obeys its own settings (offline mode, tokens, folders). Only the files of one layout are taken, the
small ones first, so that another model is refused before its weights are downloaded. Every small
file is compared with the hash that the hub has for it; the weights are compared while they are
converted, since they are read from end to end then anyway.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from voxtral_edge import __version__

from ..errors import ConversionError
from . import params, tekken
from .checkpoint import INDEX
from .json_file import load

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CARD = "README.md"  # says the licence
TOKENIZER = "tekken.json"
OFFICIAL = ("params.json", "consolidated.safetensors")
TRANSFORMERS = ("config.json", "model*.safetensors")
PLAIN = re.compile(r"[\w.-]+")  # names of files, which come from elsewhere and are shown
TIMEOUT_S = 10.0  # for the hub's first answer


@dataclass(frozen=True)
class Fetched:
    """A checkpoint from the hub; sha256: what its weight files must have, by name, if known."""

    folder: Path
    name: str
    revision: str
    license: str | None
    sha256: dict[str, str]


def is_name(text: str) -> bool:
    """Whether a text could be the name of a repository rather than a path."""
    return bool(NAME.fullmatch(text))


def fetch(name: str, say: Callable[[str], None], *, progress: bool = True) -> Fetched:
    """Return the checkpoint of a repository, downloaded or from the cache.

    say() is told what will be downloaded, and under which licence. Raises ConversionError if the
    repository cannot be used or a file is damaged, OSError if the connection breaks for good or
    the disk is full; what was complete by then stays in the cache.
    """
    from huggingface_hub import constants, hf_hub_download  # noqa: F401  (which sets a level)
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.HF_HUB_CACHE.startswith("~"):
        raise ConversionError(
            "there is no home directory, in which the hub's files are kept: set HOME or HF_HOME"
        )
    # It would tell of each attempt to go on.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not progress or not sys.stderr.isatty():
        disable_progress_bars()
    sizes = _sizes(name)
    if sizes is None:
        folder, names = _cached(name)
        files = _needed(name, names)
    else:
        files = _needed(name, sizes)
        _check_space(name, sum(sizes[file] for file in files if not _in_cache(name, file)))
        folder = _download(name, [file for file in files if not _is_weights(file)])
    for file in files:
        if not _is_weights(file):
            _check(folder / file)
    _check_model(folder, files)
    license = _license(folder)
    weights = [file for file in files if _is_weights(file)]
    size = "from the cache" if sizes is None else f"{sum(sizes[f] for f in files) / 1e9:.2f} GB"
    say(f"{name}, revision {folder.name[:12]}, licence: {license or 'not stated'}; {size}")
    if sizes is not None and _download(name, weights) != folder:
        raise ConversionError(f"{name} has changed while it was downloaded: run it again")
    hashes = {file: _published(folder / file) for file in weights}
    known = {file: found for file, found in hashes.items() if len(found) == 64}
    return Fetched(folder, name, folder.name, license, known)


def forget(path: Path) -> None:
    """Remove a damaged file from the cache, so that it is downloaded again."""
    blob = path.parent / path.readlink() if path.is_symlink() else path
    for each in (path.resolve(), blob, path):  # a blob may be a link to a store of several caches
        each.unlink(missing_ok=True)


def _sizes(name: str) -> dict[str, int] | None:
    """The files of a repository and their sizes, None without a connection."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(library_name="voxtral-edge", library_version=__version__)
    try:
        info = api.model_info(name, files_metadata=True, timeout=TIMEOUT_S)
    except HFValidationError as error:
        raise ConversionError(
            f"{name} is no folder, and no name on the hub ({error}): check it"
        ) from error
    except HfHubHTTPError as error:
        raise _refused(name, error) from error
    except Exception:  # the library for HTTP below depends on the version, and so do its errors
        return None
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def _cached(name: str) -> tuple[Path, set[str]]:
    """The folder of a repository in the cache, and the files in it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, TOKENIZER)
    if isinstance(found, str):
        folder = Path(found).parent
        names = {file.name for file in folder.iterdir() if file.exists()}
        if _layout(names):
            return folder, names
    raise ConversionError(
        f"{name} is no folder, and not in the cache either, and the hub cannot be reached: connect "
        "to it once (HF_HUB_OFFLINE must not be set then), or name the folder of a checkpoint"
    )


def _layout(names: Collection[str]) -> list[str] | None:
    """Configuration and weights of the layout that the names have; the official one wins."""
    if set(OFFICIAL) <= set(names):
        return list(OFFICIAL)
    weights = sorted(f for f in names if fnmatch(f, TRANSFORMERS[1]) and PLAIN.fullmatch(f))
    if TRANSFORMERS[0] in names and weights:
        return [TRANSFORMERS[0], *(file for file in (INDEX,) if file in names), *weights]
    return None


def _needed(name: str, names: Collection[str]) -> list[str]:
    """The files to take, configuration first."""
    layout = _layout(names)
    if layout is None or TOKENIZER not in names:
        raise ConversionError(
            f"{name} holds no checkpoint of Voxtral Realtime, which is {', '.join(OFFICIAL)} and "
            f"{TOKENIZER}, or {', '.join(TRANSFORMERS)} and {TOKENIZER}: check the name"
        )
    return [*layout, TOKENIZER, *(file for file in (CARD,) if file in names)]


def _is_weights(file: str) -> bool:
    return file.endswith(".safetensors")


def _in_cache(name: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, file), str)


def _check_space(name: str, n_bytes: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{n_bytes / 1e9:.1f} GB of {name} do not fit into the {free / 1e9:.1f} GB that are "
            "free: make room, or set HF_HOME to a folder elsewhere",
            str(cache),
        )


def _download(name: str, files: list[str]) -> Path:
    """Download what is not in the cache; return the folder."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folders = {
            Path(
                hf_hub_download(
                    name, file, library_name="voxtral-edge", library_version=__version__
                )
            ).parent
            for file in files
        }
    except HfHubHTTPError as error:
        raise _refused(name, error) from error
    except LocalEntryNotFoundError as error:  # it had been listed
        raise _broken(name, error.__cause__ or error) from error
    except Exception as error:  # see _sizes()
        if isinstance(error, OSError) and error.errno is not None:
            what = f"cannot write it ({error.strerror})"
            raise OSError(error.errno, what, constants.HF_HUB_CACHE) from error
        raise _broken(name, error) from error
    if len(folders) != 1:
        raise ConversionError(f"{name} has changed while it was downloaded: run it again")
    return folders.pop()


def _broken(name: str, error: BaseException) -> OSError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return OSError(
        errno.ECONNABORTED, f"the download broke off ({reason}): run the command again", name
    )


def _refused(name: str, error: OSError) -> Exception:
    """What to do about an answer of the hub that is an error."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    assert isinstance(error, HfHubHTTPError)
    status = error.response.status_code
    if isinstance(error, GatedRepoError) or status == 403:
        return ConversionError(
            f"{name} is gated: accept its terms on its page of the hub, and log in with the "
            "command hf auth login (or set HF_TOKEN)"
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return ConversionError(
            f"{name} is neither a folder nor a repository that the hub shows you: check the name; "
            "for a private one, log in with the command hf auth login (or set HF_TOKEN)"
        )
    return OSError(
        errno.ECONNABORTED, f"the hub answers with status {status}: try again later", name
    )


def _published(path: Path) -> str:
    """The hash that the hub has for a file of the cache, "" if that does not tell.

    The file is a link to a blob that is named so: SHA-256, or SHA-1 as git computes it.
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) else ""


def _check(path: Path) -> None:
    """Compare a small file with its published hash."""
    data, published = path.read_bytes(), _published(path)
    if len(published) == 64:
        found = hashlib.sha256(data).hexdigest()
    else:
        found = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
    if published and found != published:
        forget(path)
        raise ConversionError(
            f"{path.name} is not what the hub has published (its hash is {found[:12]}..., not "
            f"{published[:12]}...); it was removed from the cache: run the command again"
        )


def _check_model(folder: Path, files: list[str]) -> None:
    """Refuse another model by its configuration and tokenizer."""
    read = params.official if files[0] == OFFICIAL[0] else params.transformers
    tekken.read(folder / TOKENIZER, read(load(folder / files[0])).n_vocab)


def _license(folder: Path) -> str | None:
    """The licence that the card of the model names."""
    from huggingface_hub import ModelCard

    if not (folder / CARD).exists():
        return None
    license = ModelCard.load(os.fspath(folder / CARD), ignore_metadata_errors=True).data.license
    return license if isinstance(license, str) else None
