from __future__ import annotations

import socket

import pytest

from chat.server import claim, url_of
from problems import Problem


def test_a_taken_port_is_said_before_anything_is_loaded() -> None:
    with claim("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Problem, match=f"port {port}") as refusal:
            claim("127.0.0.1", port)
        assert "--port" in refusal.value.hint


def test_an_unknown_host_is_said() -> None:
    with pytest.raises(Problem, match="no address") as refusal:
        claim("host.invalid", 0)
    assert "--host" in refusal.value.hint
    with pytest.raises(Problem, match="cannot listen"):
        claim("192.0.2.1", 0)


def test_the_address_opens_in_a_browser() -> None:
    with claim("0.0.0.0", 0) as everywhere:
        assert url_of(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
    if socket.has_dualstack_ipv6():
        with claim("::1", 0) as six:
            assert url_of(six).startswith("http://[::1]:")
