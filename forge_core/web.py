"""What is fetched without a browser: one GET with limits on time, size and on where it may lead.

    answer = get("https://example.org/shot.png", seconds=20, limit=20 * 2**20)

What the user named is asked, wherever it is. A redirect to another origin is followed only from one address of the open
internet to another, so that no site makes this machine ask its own network. A name is looked up once: the address that
was checked is the one that is connected to. What a proxy of the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) reaches
cannot be checked here: through one, redirects stay on their origin.
"""

import ipaddress
import re
import socket
import ssl
import string
import time
from base64 import b64encode
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Thread
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from forge_core import __version__
from forge_core.text import printable

AGENT = "churninator-forge"  # the name under which robots.txt may speak to it
REDIRECTS = 5  # RFC 9309, 2.3.1.2: at least as many for robots.txt
_MOVED = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_USER = re.compile(r"(?<=//)[^\s/?#]*@")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class Answer(NamedTuple):
    """A response that is no redirect; `whole` is False where the body has more than its first `limit` bytes."""

    status: int
    body: bytes
    whole: bool


class NotReachedError(OSError):
    """Nobody takes a connection there, or the name is unknown."""


def get(
    url: str, *, seconds: float, limit: int, elsewhere: bool = True, method: str = "GET", accept: str = "*/*"
) -> Answer:
    """The answer to one request, whatever its status; `limit` in bytes of the body, `seconds` for all of it.

    Without `elsewhere` nothing but the URL's own origin is asked: no other one, and no proxy. Raises OSError with one
    line that begins with the URL: not http(s), a password in it, no answer in time, a redirect that is not followed;
    NotReachedError where there is no connection.
    """
    fetch, done = _Fetch(url, seconds, limit, elsewhere, method, accept), Future()
    # a thread, as nothing else ends in time whatever it waits for: a name server, a handshake, a byte now and then
    Thread(target=_work, args=(fetch, done), daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError:
        raise OSError(f"{shown(url)}: not done after {seconds:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        kind = NotReachedError if isinstance(error, NotReachedError) else OSError
        raise kind(f"{shown(url)}: {shown(str(error) or type(error).__name__)}") from None
    finally:
        fetch.leave()


def shown(text: str) -> str:
    """A URL, or a message with one, for a line: no user name or password in it, at most 200 characters."""
    return printable(" ".join(_USER.sub("", text).split()))[:200]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet; of IPv6 that wraps IPv4 the IPv4 address counts.

    Not loopback, private, link-local, shared, unspecified, multicast or reserved (IANA's special-purpose registries).
    """
    ip = ipaddress.ip_address(address.partition("%")[0])  # without the interface of a link-local one
    if ip.version == 6:
        inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
        ip = inside or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False))


class _Place(NamedTuple):
    """An origin."""

    scheme: str
    host: str
    port: int


def _work(fetch: "_Fetch", done: Future) -> None:
    try:
        done.set_result(fetch.run())
    except BaseException as error:  # raised again where it is waited for
        done.set_exception(error)


class _Fetch:
    """One call of `get`, in a thread of its own."""

    def __init__(self, url: str, seconds: float, limit: int, elsewhere: bool, method: str, accept: str) -> None:
        self.url, self.limit, self.elsewhere, self.method = url, limit, elsewhere, method
        self.headers = {"User-Agent": f"{AGENT}/{__version__}", "Accept": accept, "Connection": "close"}
        self.end = time.monotonic() + seconds
        self.addresses: dict[_Place, list[str]] = {}
        self.sock: socket.socket | None = None

    def leave(self) -> None:
        """End what still waits for the other side."""
        self.end = 0.0
        if sock := self.sock:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # the plain one, as TLS would want to say goodbye

    def run(self) -> Answer:
        url = self.url
        for _ in range(REDIRECTS + 1):
            connection, target, sign = self._connected(url)
            try:
                connection.request(self.method, target, headers=self.headers | sign)
                response = connection.getresponse()
                location = response.getheader("Location") if response.status in _MOVED else None
                if location is None:
                    return self._answer(response)
            finally:
                connection.close()
            url = self._next(url, location)
        raise OSError(f"more than {REDIRECTS} redirects")

    def _answer(self, response: HTTPResponse) -> Answer:
        with response:
            if (packed := response.getheader("Content-Encoding", "identity").lower()) not in ("", "identity"):
                raise OSError(f"packed by {packed:.20}, which was not asked for")
            data = bytearray()
            while len(data) <= self.limit and (part := response.read1(1 << 16)):
                data += part
            if len(data) > self.limit:
                return Answer(response.status, bytes(data[: self.limit]), False)
            if response.length:
                raise OSError(f"ended {response.length} bytes before its end")
            return Answer(response.status, bytes(data), True)

    def _next(self, url: str, location: str) -> str:
        """Where a redirect leads; raises OSError or ValueError where it is not followed."""
        there = urljoin(url, quote(location, safe=string.punctuation, encoding="latin-1"))
        before, after = _place(url), _place(there)
        if after == before:
            return there
        if not self.elsewhere:
            raise OSError(f"redirects to another origin, {there}, which is not asked")
        if not self._public(before):
            raise OSError(f"redirects to another origin, {there}: from a private address or by a proxy, not followed")
        if not self._public(after):
            raise OSError(f"redirects to {there}: a private address or by a proxy, not followed")
        return there

    def _public(self, place: _Place) -> bool:
        return not self._proxy(place) and all(map(is_public, self._resolved(place)))

    def _resolved(self, place: _Place) -> list[str]:
        """The IP addresses of a place, asked for once."""
        if place not in self.addresses:
            try:
                found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise NotReachedError(str(error)) from None
            self.addresses[place] = list(dict.fromkeys(address[0] for *_, address in found))
        return self.addresses[place]

    def _connected(self, url: str) -> tuple[HTTPConnection, str, dict[str, str]]:
        """A connection on which to ask for the URL, what to ask for, and the headers that a proxy wants."""
        place, parts = _place(url), urlsplit(url)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
        if proxy := self._proxy(place):
            return self._by_proxy(place, target, proxy)
        connection = (HTTPSConnection if place.scheme == "https" else HTTPConnection)(place.host, place.port)
        sock = self._socket(place)
        if place.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=place.host)
        connection.sock = self.sock = sock
        self._left()
        return connection, target, {}

    def _by_proxy(self, place: _Place, target: str, proxy: SplitResult) -> tuple[HTTPConnection, str, dict[str, str]]:
        if proxy.scheme != "http" or not proxy.hostname:
            raise OSError(f"the proxy of the environment is {proxy.scheme}://, expected http://")
        login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
        sign = {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"} if proxy.username else {}
        kind, where = HTTPSConnection if place.scheme == "https" else HTTPConnection, (proxy.hostname, proxy.port or 80)
        connection = kind(*where, timeout=self._left())
        if place.scheme == "https":
            connection.set_tunnel(place.host, place.port, sign)
            sign = {}  # the tunnel has it; what is sent inside is for the site
        else:
            target = _address(place) + target
        connection.connect()
        self.sock = connection.sock
        self._left()
        return connection, target, sign

    def _proxy(self, place: _Place) -> SplitResult | None:
        """The proxy that the environment names for a place."""
        named = getproxies().get(place.scheme) if self.elsewhere else None
        if not named or proxy_bypass(f"{place.host}:{place.port}"):
            return None
        return urlsplit(named if "://" in named else f"http://{named}")

    def _socket(self, place: _Place) -> socket.socket:
        """A connection to the first of the place's addresses that takes it."""
        addresses = self._resolved(place)
        for number, address in enumerate(addresses, start=1):
            try:
                share = self._left() / (len(addresses) + 1 - number)
                sock = socket.create_connection((address, place.port), share)
                sock.settimeout(self._left())
                return sock
            except OSError as error:
                if number == len(addresses):
                    raise error if isinstance(error, TimeoutError) else NotReachedError(str(error)) from None
        raise NotReachedError(f"{place.host} has no address")

    def _left(self) -> float:
        """Seconds until the end; raises TimeoutError where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _place(url: str) -> _Place:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url}: expected http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("a user name or password in a URL is not sent; leave it out")
    return _Place(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


def _address(place: _Place) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{place.scheme}://{host}:{place.port}"
