"""What is fetched without a browser, from servers, names and addresses that mean harm; nothing leaves this machine."""

import itertools
import socket
import time
from base64 import b64encode
from threading import Event, Thread

import pytest
from web_server import WebServer

from forge_core.web import get, is_public

OPEN, OTHER = "93.184.215.14", "151.101.1.69"  # addresses of the open internet
BOB = "bob:" + "hunter2"  # in parts, so that no file of this project looks like a leak
LIMITS = {"seconds": 10, "limit": 1000}


class Network:
    """Names and addresses as this test has them: every connection ends at one server, and is noted.

    `names`: name -> the addresses of each look-up in turn, the last one again and again.
    """

    def __init__(self, port: int) -> None:
        self.port, self.names, self.lookups, self.connected = port, {}, [], []
        self.real = socket.create_connection

    def getaddrinfo(self, host, port, *_, **__):
        self.lookups.append(host)
        answers = self.names.get(host) or [[socket.inet_ntoa(socket.inet_aton(host))] if ":" not in host else [host]]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def create_connection(self, address, *given, **more):
        self.connected.append(address[0])
        return self.real(("127.0.0.1", self.port), *given, **more)


@pytest.fixture
def server():
    server = WebServer({"/": "here"})
    yield server
    server.stop()


@pytest.fixture
def network(server, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    network = Network(server.server_port)
    network.names = {"open.example": [[OPEN]], "other.example": [[OTHER]]}
    monkeypatch.setattr(socket, "getaddrinfo", network.getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", network.create_connection)
    return network


PRIVATE = (
    *("127.0.0.1", "127.9.9.9", "10.0.0.5", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
    *("fec0::1", "ff02::1", "::ffff:10.0.0.5", "::ffff:169.254.169.254", "64:ff9b::10.0.0.5", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2002:0a00:0005::1", "2002:7f00:0001::", "::10.0.0.5", "2001:db8::1", "2001:0:a00:5::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known_in_every_wrapping(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", [OPEN, "8.8.8.8", "2606:4700::1111", f"::ffff:{OPEN}", f"64:ff9b::{OPEN}", "2002:5db8:d70e::1"]
)
def test_public_addresses_are_known_in_every_wrapping(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "169.254.169.254", "10.0.0.5", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]"),
        *("[::ffff:10.0.0.5]", "[64:ff9b::a00:5]", "[2002:a00:5::1]", "inside.example", "both.example"),
    ],
)
def test_no_redirect_leads_from_the_internet_to_a_private_address(server, network, host):
    network.names |= {"inside.example": [["10.0.0.5"]], "both.example": [[OTHER, "10.0.0.5"]]}
    server.pages["/go"] = (302, {"Location": f"http://{host}/secret"}, "")
    with pytest.raises(OSError, match="http://open.example/go: redirects to http://.*/secret: a private address"):
        get("http://open.example/go", **LIMITS)
    assert server.requests == ["/go"] and network.connected == [OPEN]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://other.example/", "//other.example/", "/", "http://open.example:80/"])
def test_a_redirect_within_the_internet_is_followed(server, network, status, location):
    server.pages["/go"] = (status, {"Location": location}, "")
    assert get("http://open.example/go", **LIMITS) == (200, b"here", True)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(server, network):
    network.names |= {"turns.example": [[OTHER], ["127.0.0.1"]], "open.example": [[OPEN], ["10.0.0.5"]]}
    server.pages |= {"/go": (302, {"Location": "http://turns.example/back"}, "")}
    server.pages |= {"/back": (302, {"Location": "http://open.example/round"}, "")}
    server.pages |= {"/round": (302, {"Location": "/"}, "")}
    assert get("http://open.example/go", **LIMITS).body == b"here"
    assert network.connected == [OPEN, OTHER, OPEN, OPEN]
    assert [name for name in network.lookups if name in network.names] == ["open.example", "turns.example"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost.example", "[::1]"])
def test_a_private_address_that_was_named_is_asked_and_keeps_to_its_origin(server, network, host):
    network.names["localhost.example"] = [["127.0.0.1"]]
    server.pages |= {"/go": (302, {"Location": "/"}, "")}
    assert get(f"http://{host}:3000/go", **LIMITS).body == b"here"
    for elsewhere in ("http://open.example/", f"http://{host}:3001/", f"https://{host}:3000/", "http://10.0.0.5:3000/"):
        server.pages["/out"] = (302, {"Location": elsewhere}, "")
        with pytest.raises(OSError, match="redirects to another origin, .* not followed"):
            get(f"http://{host}:3000/out", **LIMITS)
    assert set(network.connected) == {host.strip("[]").replace("localhost.example", "127.0.0.1")}


@pytest.mark.parametrize(
    "location", ["http://other.example/", "https://open.example/", "http://open.example:81/", "http://10.0.0.5/"]
)
def test_what_is_to_stay_on_its_origin_does(server, network, location):
    server.pages |= {"/go": (302, {"Location": location}, ""), "/near": (302, {"Location": "/"}, "")}
    assert get("http://open.example/near", **LIMITS, elsewhere=False).body == b"here"
    with pytest.raises(OSError, match="http://open.example/go: redirects to another origin, .*, which is not asked"):
        get("http://open.example/go", **LIMITS, elsewhere=False)
    assert set(network.connected) == {OPEN}


@pytest.mark.parametrize(
    "location", ["file:///etc/hostname", "ftp://open.example/a", "data:text/plain,a", "javascript:1", "http://", "//"]
)
def test_a_redirect_to_another_kind_of_address_is_refused(server, network, location):
    server.pages["/go"] = (302, {"Location": location}, "")
    with pytest.raises(OSError, match=r"open.example/go: .*(expected http:// or https://|redirects)"):
        get("http://open.example/go", **LIMITS)


def test_endless_redirects_end(server, network):
    server.pages |= {f"/{number}": (302, {"Location": f"/{number + 1}"}, "") for number in range(20)}
    with pytest.raises(OSError, match="more than 5 redirects"):
        get("http://open.example/0", **LIMITS)
    assert len(server.requests) == 6


class Dripping:
    """A server that says `begin` and then a byte now and then, whatever it is asked, until `stop`."""

    def __init__(self, begin: bytes, then: bytes = b"x") -> None:
        self.begin, self.then, self.stopped = begin, then, Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        connection, _ = self.socket.accept()
        try:
            connection.sendall(self.begin)
            while not self.stopped.wait(0.02):
                connection.sendall(self.then)
        except OSError:
            self.stopped.set()  # the other side has left

    def stop(self) -> None:
        self.stopped.set()
        self.socket.close()


@pytest.mark.parametrize(
    ("begin", "then"),
    [
        (b"", b"H"),  # a status line without end
        (b"HTTP/1.1 200 OK\r\nA: ", b"a"),  # a header
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),  # the size of a chunk
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: a\r\n"),  # trailers
    ],
)
def test_a_server_that_drips_is_left_after_the_whole_time(begin, then):
    server, started = Dripping(begin, then), time.monotonic()
    try:
        with pytest.raises(OSError, match=f"{server.url}/: not done after 0.4 s"):
            get(f"{server.url}/", seconds=0.4, limit=10**6)
        assert time.monotonic() - started < 5
        assert server.stopped.wait(5), "the connection is closed, too"
    finally:
        server.stop()


def test_a_name_server_that_says_nothing_is_left(network, monkeypatch, server):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.stopped.wait())
    with pytest.raises(OSError, match="not done after 0.2 s"):
        get("http://open.example/", seconds=0.2, limit=10)


def test_more_than_the_limit_is_cut_and_said(server, network):
    server.pages |= {"/endless": (200, {}, itertools.repeat(b"abcd" * 1000)), "/exact": "x" * 1000}
    assert get("http://open.example/endless", **LIMITS) == (200, b"abcd" * 250, False)
    assert get("http://open.example/exact", **LIMITS) == (200, b"x" * 1000, True)


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 100, "packed by gzip, which was not asked for"),
        ({"Content-Length": "900"}, b"short", "ended 895 bytes before its end"),
        ({"Transfer-Encoding": "chunked"}, b"zz\r\n", ""),
        ({"Transfer-Encoding": "chunked"}, b"5\r\nab", ""),
        ({"X-Long": "a" * 70_000}, b"", "header line"),
        ({f"X-{number}": "a" for number in range(200)}, b"", "more than 100 headers"),
    ],
)
def test_an_answer_that_lies_is_one_line(server, network, headers, body, reason):
    server.pages["/a"] = (200, headers, body)
    with pytest.raises(OSError, match=f"http://open.example/a: .*{reason}") as caught:
        get("http://open.example/a", **LIMITS)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_no_password_is_sent_or_shown(server, network):
    server.pages["/go"] = (302, {"Location": f"http://{BOB}@other.example/"}, "")
    for url in (f"http://{BOB}@open.example/", "http://open.example/go", f"http://{BOB}@b@open.example/"):
        with pytest.raises(OSError, match="a user name or password in a URL is not sent") as caught:
            get(url, **LIMITS)
        assert "hunter2" not in str(caught.value)
    assert network.connected == [OPEN]


def test_a_line_shows_no_control_characters(server, network):
    server.pages["/go"] = (302, {"Location": "file:///\x1b[31mred"}, "")
    with pytest.raises(OSError) as caught:
        get("http://open.example/go#\x1b[2J", **LIMITS)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("login", ["", "bob:hunter2@"])
def test_a_proxy_is_asked_and_what_it_redirects_stays_on_its_origin(server, network, monkeypatch, login):
    monkeypatch.setenv("HTTP_PROXY", f"http://{login}127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "direct.example")
    network.names["direct.example"] = [[OTHER]]
    server.pages |= {"http://open.example:80/": "by proxy", "/": "direct"}
    server.pages["http://open.example:80/go"] = (302, {"Location": "/"}, "")
    server.pages["http://open.example:80/out"] = (302, {"Location": "http://10.0.0.5/"}, "")
    assert get("http://open.example/go", **LIMITS).body == b"by proxy"
    assert get("http://direct.example/", **LIMITS).body == b"direct"
    assert get("http://open.example/", **LIMITS, elsewhere=False).body == b"direct", "no other address is asked"
    with pytest.raises(OSError, match="by a proxy, not followed"):
        get("http://open.example/out", **LIMITS)
    sent = [headers.get("Proxy-Authorization") for path, headers in server.heads if path.startswith("http:")]
    assert set(sent) == {f"Basic {b64encode(login[:-1].encode()).decode()}" if login else None}
    assert [headers for path, headers in server.heads if path == "/" and headers.get("Proxy-Authorization")] == []


def test_a_proxy_that_refuses_is_one_line_without_its_password(server, network, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://{BOB}@127.0.0.1:{server.server_port}")
    with pytest.raises(OSError, match="https://open.example/: .*Tunnel connection failed: 5") as caught:
        get("https://open.example/", **LIMITS)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://{BOB}@127.0.0.1:1")
    with pytest.raises(OSError, match="the proxy of the environment is socks5://, expected http://"):
        get("https://open.example/", **LIMITS)


def test_what_tls_does_not_vouch_for_is_not_read(server, network):
    with pytest.raises(OSError, match="https://open.example/: .*SSL"):
        get("https://open.example/", **LIMITS)
    assert server.requests == []
