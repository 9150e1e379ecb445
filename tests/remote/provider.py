"""Vast.ai for tests: a server on 127.0.0.1 with the documented REST forms, its rentals, its bill and its failures.

Forms as in https://docs.vast.ai/api-reference; the real `vastai` command talks to it (VAST_URL). A rented instance is
the loopback host where one is given: its onstart script runs there, stopping it kills what runs there.
"""

import json
import operator
import os
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from urllib.parse import parse_qs, urlsplit

ACCOUNT_KEY = "0a1b2c3d" * 8  # of the account, never to be seen on a host
COMPARE = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt, "eq": operator.eq}
OFFER = {
    "id": 1,
    "gpu_name": "RTX 4090",
    "num_gpus": 1,
    "gpu_ram": 24564,
    "compute_cap": 890,
    "cuda_max_good": 13.0,
    "disk_space": 600.0,
    "inet_down": 800.0,
    "reliability": 0.995,
    "direct_port_count": 12,
    "dph_total": 0.40,
    "min_bid": 0.15,
    "storage_cost": 0.20,
    "geolocation": "Iceland, IS",
    "rentable": True,
    "rented": False,
    "verified": True,
    "external": False,
}


class Provider(ThreadingHTTPServer):
    """`offers`: changes to OFFER, one dict each. `requests`: (method, path, body, key) of each request so far.

    `statuses`: what a new instance shows, look by look; the last one stays. `changes`: to the row of a new instance.
    `faults`: called with (method, path) before a request is answered; returns (status, body) to answer that instead, or
    None. A body of bytes is sent as it is.
    """

    daemon_threads = True

    def __init__(self, offers: list[dict], host=None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.offers = [OFFER | changes for changes in offers]
        self.host, self.requests, self.instances, self.charges, self.lock = host, [], {}, [], Lock()
        self.halted = Event()
        self.statuses = ["running"]
        self.changes: dict = {}
        self.faults: Callable[[str, str], tuple[int, object] | None] = lambda method, path: None
        self.environment: dict[str, str] = {}  # of the container, beside what Vast sets
        self.onstart: list[subprocess.Popen] = []
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for process in self.onstart:
            process.wait()

    def asked(self, method: str, start: str) -> list[dict]:
        """Bodies of the requests of a kind."""
        return [body for verb, path, body, _ in self.requests if verb == method and path.startswith(start)]

    def boot(self, number: int) -> None:
        """Start the container: its sshd, and the onstart script with what Vast puts into its environment."""
        row = self.instances[number]
        row["intended_status"] = "running"
        if self.host is None:
            return
        self.host.stop()  # the fixture has started it
        self.host.start()
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.host.home), "VAST_URL": self.url}
        environment |= {"CONTAINER_ID": str(number), "CONTAINER_API_KEY": row["key"]} | self.environment
        command = ["bash", "-c", row["onstart"]]
        null = subprocess.DEVNULL
        self.onstart.append(subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=null))

    def halt(self, number: int, intended: str = "stopped") -> None:
        """End the container and all in it; the disk stays. An outbid instance is halted like this, without a word."""
        self.instances[number] |= {"actual_status": "exited" if intended == "running" else "stopped"}
        self.instances[number]["intended_status"] = intended
        if self.host is not None:
            self.host.close()
        self.halted.set()

    def answer(self, method: str, path: str, query: dict, body: dict, key: str) -> tuple[int, dict]:
        parts = path.strip("/").split("/")[2:]  # without api/v0
        number = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        row = self.instances.get(number)
        own = row is not None and key == row["key"]
        if key != ACCOUNT_KEY and not (own and (method, parts[0]) == ("PUT", "instances")):
            return 401, {"success": False, "error": "auth_error", "msg": "Invalid user key"}
        match method, parts[0]:
            case "POST", "bundles":
                return 200, {"offers": list(self._search(body))}
            case "PUT", "asks":
                return self._create(number, body)
            case "GET", "instances" if number:
                return 200, {"instances": row and self._public(row)}
            case "GET", "instances":
                return 200, self._page(query)
            case "GET", "charges":
                return 200, {"success": True, "results": self.charges, "count": len(self.charges), "next_token": None}
        if row is None:
            return 404, {"success": False, "error": "no_such_instance", "msg": f"Instance {number} not found."}
        match method, parts[0], parts[2:]:
            case "POST", "instances", ["ssh"]:
                if self.host is not None:
                    with (self.host.folder / "client_key.pub").open("a") as keys:
                        keys.write(body["ssh_key"] + "\n")
            case "PUT", "instances", []:
                if body["state"] == "stopped":
                    Thread(target=self.halt, args=(number,)).start()  # it is the container that may be asking
                else:
                    row["statuses"] = iter(["running"])
                    self.boot(number)
            case "DELETE", "instances", []:
                self.instances.pop(number)
                if self.host is not None:
                    self.host.close()
        return 200, {"success": True}

    def _search(self, query: dict) -> Iterator[dict]:
        # vastai sends most numbers as text
        tests = {name: test for name, test in query.items() if isinstance(test, dict)}
        price = query["order"][0][0]
        for offer in sorted(self.offers, key=lambda offer: offer[price]):
            if all(
                COMPARE[op](offer[name], float(value)) for name, test in tests.items() for op, value in test.items()
            ):
                yield offer

    def _create(self, number: int, body: dict) -> tuple[int, dict]:
        offer = next((each for each in self.offers if each["id"] == number), None)
        if offer is None:
            message = f"error 404/3603: no_such_ask Instance type by id {number} is not available."
            return 400, {"success": False, "error": "no_such_ask", "msg": message}
        self.offers.remove(offer)
        new = 9000 + number
        where = {"public_ipaddr": "127.0.0.1", "ssh_host": "ssh1.vast.ai", "ssh_port": 10022, "ports": {}}
        if self.host is not None:
            where["ports"] = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(self.host.port)}]}
        disk = offer["storage_cost"] * body["disk"] / 730
        price = body["price"] + disk if body["price"] is not None else offer["dph_total"]
        self.instances[new] = (
            where
            | {
                "id": new,
                "label": body["label"],
                "gpu_name": offer["gpu_name"],
                "statuses": iter(self.statuses),
                "actual_status": None,
                "intended_status": "running",
                "status_msg": "",
                "dph_total": price,
                "storage_cost": offer["storage_cost"],
                "disk_space": body["disk"],
                "start_date": 1.8e9,
                "extra_env": [],
                "onstart": body["onstart"],
                "image_runtype": body["runtype"],
                "key": f"instance-key-{new}",
            }
            | self.changes
        )
        self.boot(new)
        return 200, {"success": True, "new_contract": new, "instance_api_key": f"instance-key-{new}"}

    @staticmethod
    def _public(row: dict) -> dict:
        return {name: value for name, value in row.items() if name not in ("key", "statuses")}

    def _page(self, query: dict) -> dict:
        """One page, 25 at most, as v1 has it."""
        after = int(query.get("after_token", ["0"])[0])
        rows = [row for number, row in sorted(self.instances.items()) if number > after][:25]
        for row in rows:
            row["actual_status"] = next(row["statuses"], row["actual_status"])
        more = any(number > rows[-1]["id"] for number in self.instances) if rows else False
        public = [self._public(row) for row in rows]
        return {"success": True, "instances": public, "next_token": str(rows[-1]["id"]) if more else None}


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        server = self.server
        server.requests.append((self.command, parts.path, body, key))
        with server.lock:
            status, answer = server.faults(self.command, parts.path) or server.answer(
                self.command, parts.path, parse_qs(parts.query), body, key
            )
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *_) -> None:
        pass
