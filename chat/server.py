"""The server: uvicorn around the application, on a port that is known to be free before anything slow is loaded."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from chat.connections import Bounded
from problems import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE = 10  # seconds that callers of the API have for their answers to end when the server is stopped


def claim(host: str, port: int) -> socket.socket:
    """Take the address, before the model is loaded; port 0 takes any free one.

    Raises:
        Problem: the port is taken or may not be used, or the host is not one of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio turns off Nagle's delay only where the protocol is named; with it an answer's body waits up to 40 ms
        # behind its own header.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise Problem(f"{host} is no address to listen on: {error.strerror}", hint="choose another --host") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} on {host} is taken by another program"
            raise Problem(message, hint=f"choose another with --port, for example --port {port + 1}") from error
        raise Problem(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="see --host and --port"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def serve(
    app: FastAPI,
    listener: socket.socket,
    *,
    ready: Callable[[str], None] = print,
    failure: Callable[[], BaseException | None] = lambda: None,
) -> None:
    """Serve until interrupted (Ctrl-C ends it well), on a listener from `claim`.

    Args:
        ready: called with the URL once requests are answered; prints it by default.
        failure: asked ten times a second; what it names ends the server, since without answers it is of no use, and
            whoever watches the process can start it again.

    Raises:
        Problem: the application did not start (the log says why), or `failure` named something.
    """
    server = make_server(app, ready=lambda: ready(url_of(listener)), over=lambda: failure() is not None)
    with listener, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise Problem("the server could not start; what it printed above says why")
    if (error := failure()) is not None:
        raise Problem(
            f"what makes the answers has stopped ({type(error).__name__}: {error}), so the server ended",
            hint="start it again; a service manager does so by itself, since the exit status is not 0",
        ) from error


def make_server(app: FastAPI, *, ready: Callable[[], None], over: Callable[[], bool] = lambda: False) -> uvicorn.Server:
    """A server to run in a thread; it ends soon after its `should_exit` is set, or `over` is true."""
    config = uvicorn.Config(
        app,
        http=Bounded,
        log_config=None,  # its warnings go where the process logs
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        proxy_headers=False,  # X-Forwarded-* of strangers is not believed
    )
    return _Server(config, ready, over)


class _Server(uvicorn.Server):
    """uvicorn's server, telling when it is up, and not waiting for open pages when it ends."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], over: Callable[[], bool]) -> None:
        super().__init__(config)
        self._ready, self._over = ready, over

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._over()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            scope = connection.scope if isinstance(connection, H11Protocol) else None
            if scope is not None and scope["path"].startswith("/gradio_api/"):
                connection.transport.close()  # a page listens for as long as it is open
        await super().shutdown(sockets)
