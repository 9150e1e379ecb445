"""A small hub on 127.0.0.1 that speaks what huggingface_hub asks for when it makes a repository and uploads a folder.

As on the real one, large files (LFS) go to a storage at another address, which takes no token, before the commit. With
hf_xet they go to a Xet store instead, here a folder that hf_xet itself writes.
"""

import base64
import hashlib
import json
import os
import re
import socket
import struct
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

LARGE = 1000  # bytes from which on a file is LFS
OWNER = "somebody"  # whom TOKEN belongs to
TOKEN, READER = "hf_mayWriteAndIsValidHere0000", "hf_mayOnlyReadButIsValid00000"


@dataclass
class Repository:
    """What was committed, by name, and how often."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 of large files
    commits: int = 0


class UploadServer(ThreadingHTTPServer):
    """`requests` has "METHOD path" of each request, `tokens` the Authorization headers that the storage saw.

    `broken`: part of a path -> how many of the next requests there are reset; `status`: the same -> (status, message).
    `xet_store` is a folder.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.broken: dict[str, int] = {}
        self.status: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.xet_store = ""
        self.lock = Lock()
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Connections that break are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UploadServer

    def do_POST(self) -> None:
        body = self._body()
        with self.server.lock:
            self.server.requests.append(f"{self.command} {self.path}")
            broken = next((part for part, times in self.server.broken.items() if times and part in self.path), None)
            if broken:
                self.server.broken[broken] -= 1
                return self._reset()
            for part, (status, message) in self.server.status.items():
                if part in self.path:
                    return self._refuse(status, message)
            return self._route(body)

    do_PUT = do_GET = do_POST

    def _route(self, body: bytes) -> None:
        if self.path.startswith("/storage/"):
            return self._store(self.path.removeprefix("/storage/"), body)
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}", f"Bearer {READER}"):
            return self._refuse(401, "Invalid credentials in Authorization header")
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(preupload|commit)/main)?", self.path):
            return self._repository(asked[1], asked[2], body)
        if self.path.endswith("/xet-write-token/main"):
            return self._json({"casUrl": f"local://{self.server.xet_store}", "exp": 1 << 33, "accessToken": "of Xet"})
        if asked := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.path):
            return self._json({"objects": [self._action(each) for each in json.loads(body)["objects"]]})
        return self._refuse(404, "Not Found")

    def _create(self, asked: dict) -> None:
        repo = f"{asked['organization'] or OWNER}/{asked['name']}"
        if self._may_not_write(repo):
            return self._refuse(403, "You don't have the rights to create a model there")
        known = repo in self.server.repositories
        self.server.repositories.setdefault(repo, Repository(asked.get("visibility") == "private"))
        return self._json({"url": f"{self.server.url}/{repo}"}, 409 if known else 200)

    def _repository(self, repo: str, job: str | None, body: bytes) -> None:
        if repo not in self.server.repositories:
            return self._refuse(404, "Repository not found", "RepoNotFound")
        known = self.server.repositories[repo]
        if not job:
            return self._json({"id": repo, "private": known.private, "sha": f"{known.commits:040}", "siblings": []})
        if self._may_not_write(repo):
            return self._refuse(403, "Forbidden: pass a token with write access")
        if job == "preupload":
            return self._json({"files": [self._mode(each) for each in json.loads(body)["files"]]})
        _, *lines = (json.loads(line) for line in body.splitlines())
        for line in lines:
            self._commit(known, line["key"], line["value"])
        known.commits += 1
        oid = f"{known.commits:040}"
        return self._json({"commitUrl": f"{self.server.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def _may_not_write(self, repo: str) -> bool:
        return self.headers["Authorization"] != f"Bearer {TOKEN}" or not repo.startswith(f"{OWNER}/")

    def _mode(self, file: dict) -> dict:
        mode = "lfs" if file["size"] >= LARGE else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _action(self, asked: dict) -> dict:
        if asked["oid"] in self.server.stored:
            return asked
        storage = f"http://localhost:{self.server.server_port}/storage/{asked['oid']}"
        return asked | {"actions": {"upload": {"href": storage}}}

    def _store(self, oid: str, body: bytes) -> None:
        self.server.tokens += [self.headers["Authorization"]] if "Authorization" in self.headers else []
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400, "the content has another sha256")
        self.server.stored[oid] = body
        return self._json({})

    def _commit(self, repository: Repository, key: str, value: dict) -> None:
        if key == "lfsFile":
            repository.hashes[value["path"]] = value["oid"]
        if key == "file":
            repository.files[value["path"]] = base64.b64decode(value["content"])
        elif value["oid"] in self.server.stored:
            repository.files[value["path"]] = self.server.stored[value["oid"]]

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # before socketserver can shut it down politely

    def _json(self, content: object, status: int = 200) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        content = {"error": message, "errors": [{"message": message}]}
        self._answer(status, json.dumps(content).encode(), headers | {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass
