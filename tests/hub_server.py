"""A hub of models on the loopback interface: what huggingface_hub asks of one, and its mishaps.

    with Hub(tmp_path) as hub:
        hub.add("org/tiny", folder)
        hub.cuts["consolidated.safetensors"] = [1000]    # the connection breaks after 1000 bytes
        subprocess.run(..., env={**os.environ, **hub.settings})

Large files have the SHA-256 of their content as their tag, small ones the hash that git gives them,
as on a real hub.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SENT = 4096  # bytes at once


class Request(NamedTuple):
    method: str
    path: str
    range: str | None


class Hub:
    """The server; `requests` is what it was asked."""

    def __init__(self, home: Path) -> None:
        self.home = home  # of whoever asks: the cache of the hub and the data directory
        self.clear()

    def clear(self) -> None:
        """Forget everything, here and there."""
        for folder in self.home.iterdir():
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.served: dict[str, bytes] = {}  # file: what is sent in its place, of whatever size
        self.cuts: dict[str, list[int]] = {}  # file: bytes after which its next answers break off
        self.gated: set[str] = set()
        self.status: int | None = None  # answer everything with it
        self.on_part: Callable[[str], object] = lambda file: None  # after the first bytes of a file
        self.requests: list[Request] = []

    def add(self, name: str, folder: Path, license: str | None = "apache-2.0") -> None:
        """Publish the files of a folder."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        if license:
            files["README.md"] = f"---\nlicense: {license}\n---\n# A model\n".encode()
        files["picture.png"] = b"not needed"
        self.repositories[name] = files

    def asked(self, file: str) -> list[Request]:
        """Return the requests for the content of a file."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith("/" + file)]

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables with which huggingface_hub asks this hub and nobody else."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.server.server_port}",
            "HF_HOME": str(self.home / "hub"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "XDG_DATA_HOME": str(self.home / "data"),
        }

    def __enter__(self) -> Hub:
        self.server = _Server(("127.0.0.1", 0), type("_", (_Handler,), {"hub": self}))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def tag(data: bytes) -> tuple[str, bool]:
    """Return the hash of a file, and whether it is stored as a large one."""
    is_large = len(data) > 10_000
    if is_large:
        return hashlib.sha256(data).hexdigest(), True
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest(), False


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, address: object) -> None:
        """Say nothing of those who went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.requests.append(Request(self.command, path, self.headers.get("Range")))
        if hub.status:
            self._refuse(hub.status, "")
            return
        described = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", path)
        content = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(?:main|[0-9a-f]{40})/([^/]+)", path)
        name = (described or content or [None, None])[1]
        files = hub.repositories.get(name or "")
        if files is None:
            self._refuse(401, "RepoNotFound")
        elif described:
            self._describe(str(name), files)
        elif name in hub.gated:
            self._refuse(403, "GatedRepo")
        elif content is None or content[2] not in files:
            self._refuse(404, "EntryNotFound")
        else:
            self._send_file(content[2], files[content[2]])

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _describe(self, name: str, files: dict[str, bytes]) -> None:
        siblings = []
        for file, data in files.items():
            hash, is_large = tag(data)
            lfs = {"sha256": hash, "size": len(data), "pointerSize": 134} if is_large else None
            siblings.append({"rfilename": file, "size": len(data), "blobId": hash[:40], "lfs": lfs})
        described = {"_id": "0", "id": name, "sha": COMMIT, "tags": [], "siblings": siblings}
        body = json.dumps(described).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, file: str, published: bytes) -> None:
        hash, is_large = tag(published)
        data = self.hub.served.get(file, published)
        start = 0
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(found[1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash}"')
        if is_large:
            self.send_header("X-Linked-Etag", f'"{hash}"')
            self.send_header("X-Linked-Size", str(len(published)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.hub.cuts.get(file)
        stop = cuts.pop(0) if cuts else len(data)
        for i in range(start, min(stop, len(data)), SENT):
            self.wfile.write(data[i : min(i + SENT, stop)])
            if i == start:
                self.hub.on_part(file)
        if stop < len(data):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""
