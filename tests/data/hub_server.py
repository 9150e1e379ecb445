"""A small hub on 127.0.0.1 that speaks what huggingface_hub asks for when it lists and downloads a data set.

As on the real one, large files (LFS) are a redirect to a storage at another address, which takes no token.
"""

import hashlib
import json
import os
import re
import socket
import struct
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import unquote, urlsplit

LARGE = 1000  # bytes from which on a file is LFS
CHUNK = 1 << 14  # bytes that the tests' client writes at a time
TOKEN = "hf_theTokenThatIsValidHere"


@dataclass
class Repository:
    """Commits and branches of a data set; `gated`: "", "terms" (accepted by nobody) or "token" (by TOKEN's owner)."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: str = ""


@dataclass
class Faults:
    """What goes wrong with one file: how often, at which byte of it, and how."""

    times: int = 0  # answers that break off
    at: int = 0  # answers from there on have a head only
    how: str = "close"  # "close" politely, "reset" the connection, or "hang" until the client is gone
    status: int = 0  # answer with this status instead
    extra: bytes = b""  # bytes that the listing does not know of
    ranges: bool = True  # whether Range is understood


class HubServer(ThreadingHTTPServer):
    """`requests` has "METHOD path [range]" of each request, `tokens` the Authorization headers that the storage saw."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, Faults] = {}
        self.listing_status, self.listing = 0, ""  # instead of a listing: a status, or JSON
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.hanging = Event()
        self.lock = Lock()
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, files: dict[str, bytes], branch: str = "main", gated: str = "") -> str:
        """Put a commit with these files on the branch and return its hash."""
        told = json.dumps([repository, [[name, hashlib.sha1(data).hexdigest()] for name, data in files.items()]])
        commit = hashlib.sha1(told.encode()).hexdigest()
        known = self.repositories.setdefault(repository, Repository(gated=gated))
        known.commits[commit], known.branches[branch] = files, commit
        return commit

    def asked(self, text: str) -> list[str]:
        """The requests so far in which `text` occurs."""
        return [request for request in self.requests if text in request]

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self) -> None:
        path, wanted = unquote(urlsplit(self.path).path), self.headers.get("Range", "")
        with self.server.lock:
            self.server.requests.append(f"{self.command} {path} {wanted}".strip())
        if path.startswith("/storage/"):
            return self._storage(path.removeprefix("/storage/"))
        if listing := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            return self._listing(*listing.groups())
        if resolve := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*resolve.groups())
        return self._answer(404)

    do_HEAD = do_GET

    def _listing(self, repository: str, kind: str, revision: str) -> None:
        if self.server.listing_status:
            return self._answer(self.server.listing_status, b"<html>nothing of a hub</html>")
        if self.server.listing:
            return self._json(json.loads(self.server.listing))
        found = self._find(repository, revision)
        if not found:
            return None
        commit, files = found
        if kind == "revision":
            siblings = [_sibling(name, data) for name, data in files.items()]
            return self._json({"id": repository, "sha": commit, "siblings": siblings})
        return self._json([_tree_entry(name, data) for name, data in files.items()])

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        found = self._find(repository, revision)
        if not found:
            return None
        if not self._may_read(self.server.repositories[repository]):
            status = 403 if self.headers.get("Authorization") else 401
            return self._answer(status, code="GatedRepo", message="Access to the data set is restricted.")
        commit, files = found
        if name not in files:
            return self._answer(404, code="EntryNotFound")
        if len(files[name]) < LARGE:
            return self._file(name, files[name], {"X-Repo-Commit": commit, "ETag": f'"{_oid(files[name])}"'})
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(files[name])),
            "X-Linked-Etag": f'"{hashlib.sha256(files[name]).hexdigest()}"',
            "Location": f"http://localhost:{self.server.server_port}/storage/{repository}/{commit}/{name}",
        }
        return self._answer(302, headers=headers)

    def _storage(self, path: str) -> None:
        owner, repository, commit, name = path.split("/", 3)
        self.server.tokens += [self.headers["Authorization"]] if "Authorization" in self.headers else []
        return self._file(name, self.server.repositories[f"{owner}/{repository}"].commits[commit][name], {})

    def _find(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files; None once the error is answered."""
        token = self.headers.get("Authorization")
        if token and token != f"Bearer {TOKEN}":
            return self._answer(401, message="Invalid credentials in Authorization header")
        known = self.server.repositories.get(repository)
        if not known:
            return self._answer(404 if token else 401, code="RepoNotFound", message="Repository not found")
        commit = known.branches.get(revision, revision)
        if commit not in known.commits:
            return self._answer(404, code="RevisionNotFound", message=f"Invalid rev id: {revision}")
        return commit, known.commits[commit]

    def _may_read(self, repository: Repository) -> bool:
        accepted = repository.gated == "token" and self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return not repository.gated or accepted

    def _file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        faults = self.server.faults.get(name, Faults())
        if faults.status and self.command == "GET":
            return self._answer(faults.status)
        data, start, status = data + faults.extra, 0, 200
        if faults.ranges and (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start, status = int(wanted[1]), 206
            if start >= len(data):
                return self._answer(416)
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if faults.times and self.command == "GET":
            faults.times -= 1
            self._head(status, headers | {"Content-Length": str(len(data) - start)})
            return self._break_off(data[start : faults.at], faults)
        return self._answer(status, data[start:], headers)

    def _break_off(self, body: bytes, faults: Faults) -> None:
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = True
        if faults.how == "hang":
            self.server.hanging.set()
            self.connection.recv(1)  # nothing, when the client is gone
        if faults.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # before socketserver can shut it down politely

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes = b"", headers=None, code: str = "", message: str = "") -> None:
        headers = dict(headers or {}) | {"Content-Length": str(len(body))}
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Error-Message": message} if message else {}
        self._head(status, headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(data: bytes, key: str) -> dict:
    if len(data) < LARGE:
        return {}
    return {"lfs": {key: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}


def _sibling(name: str, data: bytes) -> dict:
    return {"rfilename": name, "size": len(data), "blobId": _oid(data)} | _lfs(data, "sha256")


def _tree_entry(name: str, data: bytes) -> dict:
    return {"type": "file", "path": name, "size": len(data), "oid": _oid(data)} | _lfs(data, "oid")
