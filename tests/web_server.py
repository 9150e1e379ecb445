"""A small web server on 127.0.0.1 with the pages and pictures that a test gives it; it notes what was asked for."""

import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class WebServer(ThreadingHTTPServer):
    """`pages`: path -> body, or (status, headers, body); a body None is one that does not come until `stop`.

    `requests` has the path of each request, `heads` path and headers. A body that is an iterator is sent as long as
    somebody reads.
    """

    daemon_threads = True

    def __init__(self, pages: dict | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages, self.requests, self.heads, self.stopped = dict(pages or {}), [], [], Event()
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """End all answers and the server."""
        self.stopped.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Connections that break are part of the tests."""


@contextlib.contextmanager
def unasked(pages: dict | None = None):
    """The server of another origin; nobody must ask it for anything."""
    server = WebServer(pages)
    yield server
    server.stop()
    assert server.requests == []


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.heads.append((self.path, self.headers))
        page = self.server.pages.get(self.path, (404, {}, b"not here"))
        status, headers, body = page if isinstance(page, tuple) else (200, {}, page)
        if body is None:
            self.server.stopped.wait()
            return
        self.send_response(status)
        for name, value in ({"Content-Type": "text/html"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for part in [body.encode()] if isinstance(body, str) else [body] if isinstance(body, bytes) else body:
                self.wfile.write(part)

    do_POST = do_GET

    def log_message(self, *_) -> None:
        pass
