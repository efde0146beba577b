"""An HTTP proxy on loopback that forwards to a server, and misbehaves when told to."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

MUTATING = ("POST", "PUT", "PATCH", "DELETE")


class FaultyProxy:
    """Set `rule`; it gets method, path and body of each request and returns what to do.

    None forwards; a number answers with that status; "lose answer" forwards and hangs up.
    """

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self.rule: Callable[[str, str, bytes], int | str | None] = lambda *_: None
        self.after: Callable[[str, str], None] = lambda *_: None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                action = proxy.rule(self.command, self.path, body)
                if isinstance(action, int):
                    self.answer(action, [], b'{"detail":"told to"}')
                    return
                upstream = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
                try:
                    upstream.request(self.command, self.path, body, dict(self.headers))
                    response = upstream.getresponse()
                    content = response.read()
                except OSError:
                    self.close_connection = True
                    return
                finally:
                    upstream.close()
                proxy.after(self.command, self.path)
                if action == "lose answer":
                    self.close_connection = True
                    return
                self.answer(response.status, response.getheaders(), content)

            def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that was killed is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}{address.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
