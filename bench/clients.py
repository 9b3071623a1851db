"""Many streaming clients of POST /v1/chat/completions in one process of their own, the same for every server.

HTTP by hand: a client library would take more of the machine than the server does. The bytes of a stream are kept with
the times at which they came and read only when it is over, so that the clients cost little while others are measured.
Times are of the machine's monotonic clock, which all processes share.

Run as a program, it reads jobs from stdin and writes results to stdout, a line of JSON each; `Crowd` is the other end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

SEPARATOR = b"data: "


@dataclass
class Told:
    """What one stream told its client. Times in seconds; `number` is the request's place in its job."""

    number: int
    begun: float
    first: float | None = None  # when the first piece of text was there
    ended: float = 0.0
    gap: float = 0.0  # the longest time between two pieces
    pieces: int = 0  # that carried text
    text: str = ""
    model: str = ""
    finish: str | None = None  # None: the stream broke off
    tokens: int = 0  # generated, as the server counts them
    hung_up: bool = False  # by this client, midway
    error: str | None = None


class Crowd:
    """A process of clients; use inside `with`."""

    def __enter__(self) -> Crowd:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, url: str, bodies: Sequence[dict[str, Any]], hang_up: Sequence[int] | None = None) -> list[Told]:
        """Every request at once, a connection each; returns what each was told, in their order.

        Args:
            hang_up: after how many pieces each client leaves; 0 never.
        """
        self._say({"url": url, "bodies": bodies, "hang_up": hang_up or [0] * len(bodies), "streams": 0})
        return self._hear()

    def keep_asking(self, url: str, bodies: Sequence[dict[str, Any]], streams: int) -> None:
        """Hold `streams` streams open, each asking the next request when its last has ended, until `stop`."""
        self._say({"url": url, "bodies": bodies, "hang_up": [0] * len(bodies), "streams": streams})

    def stop(self) -> list[Told]:
        """Begin no further request; what every stream was told once the last has ended."""
        self._say({})
        return self._hear()

    def _say(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> list[Told]:
        assert self._process.stdout is not None
        return [Told(**each) for each in json.loads(self._process.stdout.readline())]


async def stream(url: str, number: int, body: dict[str, Any], hang_up: int) -> Told:
    """One request and what came back."""
    parts = urlsplit(url)
    payload = json.dumps(body).encode()
    told = Told(number, time.monotonic())
    arrivals: list[tuple[float, bytes]] = []
    seen = 0
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (parts.netloc.encode(), len(payload), payload)
        )
        while data := await reader.read(65536):
            arrivals.append((time.monotonic(), data))
            seen += data.count(SEPARATOR)
            if hang_up and seen > hang_up:  # the first one carries the role alone
                told.hung_up = True
                break
        writer.close()
    except OSError as error:
        told.error = f"{type(error).__name__}: {error}"
    told.ended = time.monotonic()
    read(told, arrivals)
    return told


def read(told: Told, arrivals: list[tuple[float, bytes]]) -> None:
    """Take the events out of a chunked response and note them in `told`."""
    raw = b"".join(data for _, data in arrivals)
    ends = list(itertools.accumulate(len(data) for _, data in arrivals))
    head, _, _ = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        told.error = told.error or raw[:300].decode(errors="replace") or "the connection was closed at once"
        return
    place, last, rest = len(head) + 4, None, b""
    while (mark := raw.find(b"\r\n", place)) >= 0:
        size = int(raw[place:mark], 16)
        place = mark + 2 + size
        if not size or place > len(raw):
            break
        at = arrivals[bisect_left(ends, place)][0]
        *events, rest = (rest + raw[mark + 2 : place]).split(b"\n\n")
        place += 2
        for event in events:
            if note(told, event.removeprefix(SEPARATOR), at):
                told.gap = max(told.gap, at - (last or at))
                last = at


def note(told: Told, event: bytes, at: float) -> bool:
    """Note one event; returns whether it carried tokens."""
    if event == b"[DONE]":
        return False
    said = json.loads(event)
    if "error" in said:
        told.error = str(said["error"])
        return False
    told.model = said.get("model") or told.model
    told.tokens = (said.get("usage") or {}).get("completion_tokens", told.tokens)
    text, carried = "", False
    for choice in said["choices"]:
        carried = carried or bool(choice.get("logprobs"))
        told.finish = choice.get("finish_reason") or told.finish
        text += choice["delta"].get("content") or ""
    if not text:
        return carried
    told.text += text
    told.pieces += 1
    told.first = told.first or at
    return True


async def work(job: dict[str, Any], lines: asyncio.StreamReader) -> list[Told]:
    """All requests of a job once, or over and over by `streams` clients until the next line."""
    requests = list(enumerate(job["bodies"]))
    if not job["streams"]:
        return await asyncio.gather(
            *(stream(job["url"], number, body, job["hang_up"][number]) for number, body in requests)
        )
    stopped = asyncio.ensure_future(lines.readline())
    turns = itertools.cycle(requests)
    told: list[Told] = []

    async def client() -> None:
        while not stopped.done():
            number, body = next(turns)
            told.append(await stream(job["url"], number, body, 0))
            if told[-1].error:
                await asyncio.sleep(0.05)  # a server that refuses is not hammered

    await asyncio.gather(*(client() for _ in range(job["streams"])))
    return told


async def main() -> None:
    """Do the jobs as they come."""
    lines = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = await work(json.loads(line), lines)
        print(json.dumps([asdict(each) for each in told]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
