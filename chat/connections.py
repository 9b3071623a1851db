"""Connections that end: nobody holds one open by sending a request slowly, or by vanishing in the middle of it.

uvicorn itself ends only what is idle after an answer.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 60.0  # for a whole request to arrive, from its first byte or the connection on: 2 MB at 33 kB/s
GONE_SECONDS = 120  # without a sign from the other side, after which the system gives it up; a page's stream is quiet

ARRIVING = (h11.IDLE, h11.SEND_BODY)  # what a client does while its request is not whole


class Bounded(H11Protocol):
    """uvicorn's protocol with a time by which each request must be whole; how long its answer takes is not bounded."""

    seconds = REQUEST_SECONDS
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _notice_who_is_gone(transport.get_extra_info("socket"))
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state not in ARRIVING or self.transport.is_closing():
            self._done()
        elif self._late is None:
            self._late = self.loop.call_later(self.seconds, self._give_up)

    def _done(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state in ARRIVING:
            self.transport.close()


def _notice_who_is_gone(connection: Any) -> None:
    """Have the system ask a quiet peer whether it is there."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", GONE_SECONDS // 2),
        ("TCP_KEEPINTVL", GONE_SECONDS // 8),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", GONE_SECONDS * 1000),  # of what was sent and is not acknowledged, or not read
    ):
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
