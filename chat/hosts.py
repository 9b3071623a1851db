"""The names that a server answers to, and how far it can be reached.

A page of another site can have its own name point at this machine (DNS rebinding); the browser then takes both for one
site, and would let it read and write here. What gives it away is the `Host` header, which still holds the foreign name.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from chat.settings import ChatSettings
from problems import Problem


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone; a name is looked up as `claim` does."""
    try:
        address = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0]
    except OSError:  # nothing can listen there either
        return False
    return ip_address(str(address).partition("%")[0]).is_loopback


def check_reach(settings: ChatSettings) -> None:
    """Refuse to let others in who need no key, unless that is what is wanted.

    Raises:
        Problem: it listens beyond this machine, and neither `require_key` nor `open_to_all` is set.
    """
    if settings.require_key or settings.open_to_all or is_loopback(settings.host):
        return
    raise Problem(
        f"{settings.host or 'This address'} can be reached by other machines, and nobody would be asked for a key: "
        "whoever finds it could chat, rate and read the figures.",
        hint="Set require_key of the chat's settings (RATCHET_CHAT_REQUIRE_KEY=true) and give out keys with "
        "`ratchet key add`; or pass --open-to-all if everybody who can reach it may do all of this.",
        status=2,
    )


class Hosts:
    """The names by which a server with these settings is called.

    Loopback's own always; on loopback none else but `allowed_hosts`. Beyond it also the address that it listens on,
    this machine's name, and any address in numbers: no name was made to point here where a browser was given numbers,
    and behind a forwarded port (a container, a router) the number is not one of this machine's.
    """

    def __init__(self, settings: ChatSettings) -> None:
        own = socket.gethostname().lower()
        self._beyond = not is_loopback(settings.host)
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}
        if self._beyond:
            self._names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}

    def known(self, header: str) -> bool:
        """Whether a `Host` header, with or without a port, names this server."""
        name = host_of(header)
        if not name:
            return False
        try:
            address = ip_address(name)
        except ValueError:
            return name in self._names
        return self._beyond or address.is_loopback or name in self._names


def host_of(header: str) -> str:
    """The name or address in a `Host` header, in small letters; empty where it is none."""
    if header.startswith("["):
        name, closed, port = header[1:].partition("]")
        port = port.removeprefix(":")
        if not closed:
            return ""
    else:
        name, _, port = header.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return ""
    return name.lower().removesuffix(".")


def reach(settings: ChatSettings, port: int) -> str:
    """A line for whoever starts the server: who can reach it, and what they need; empty on loopback."""
    if is_loopback(settings.host):
        return ""
    everywhere = settings.host in ("", "0.0.0.0", "::")
    where = f"http://{socket.gethostname() if everywhere else settings.host}:{port}"
    others = " and any other address of this machine" if everywhere else ""
    if settings.require_key:
        return f"Other machines reach it at {where}{others}; API and page ask for a key."
    return (
        f"OPEN TO ALL: whoever reaches {where}{others} may chat, rate and read the figures, without a key and under "
        "any name."
    )
