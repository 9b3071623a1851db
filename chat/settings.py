"""The knobs of the chat: where it listens, how often it shows two answers, what it accepts."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

from problems import Problem


@dataclass(frozen=True)
class ChatSettings:
    """Settings of the page, the HTTP API and the server that carries them."""

    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0 lets others in: require_key, or open_to_all
    port: int = 7860  # port to listen on
    allowed_hosts: tuple[str, ...] = ()  # further names that it is called by, e.g. "chat.example.org" behind a proxy
    title: str = "Ratchet"  # the name on the page
    pair_share: float = 0.2  # share of turns on the page answered twice, side by side, to be compared
    candidates: int = 6  # answers made for such a turn, of which a reward model chooses the two; 2: no choosing
    uniform_share: float = 0.2  # share of these choices drawn evenly from all candidates: the reward model's own test
    examples: tuple[str, ...] = (  # messages offered in an empty conversation
        "What is 12 + 8?",
        "Translate to Chinese: There are two beautiful umbrellas in the hospital.",
        "Summarise in one sentence: On Saturday Greta won a prize in Berlin for a film. The neighbours were happy.",
        "Order 2622: shipped on Saturday, goes to Leeds. Where does order 2622 go?",
    )
    poll_seconds: float = 1.0  # how often the running server looks for what serves and for a newer reward model
    retry_seconds: float = 30.0  # how long a version that could not be loaded is left alone before another try
    loaded_versions: int = 4  # versions kept in memory beside what serves and the canary, the last asked for by name
    ratings_per_minute: int = 600  # most that one person may give; 0: no limit
    require_key: bool = False  # whether API and page are for holders of a key alone: ratchet key add
    open_to_all: bool = False  # whether other machines are let in though nobody is asked for a key
    requests_per_minute: int = 0  # most completions that one person may ask for by the API; 0: no limit
    log_format: Literal["text", "json"] = "text"  # how the server's log is written on stderr, a line an event
    log_level: Literal["debug", "info", "warning", "error"] = "warning"  # info logs every answer and call of the API
    # Answers that may be asked for in a minute with one key, or else from one address beyond this machine, `n` counted:
    # one in a second for five people at a time. 0: no limit.
    door_answers_per_minute: int = 300
    door_ratings_per_minute: int = 600  # ratings in a minute with one key, or else from one address; 0: no limit
    # People not known before that one key, or else one address, may bring in within an hour, a key that may `operate`
    # aside: a class of thirty, and as many again. 0: no limit.
    new_people_per_hour: int = 60
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For is believed: "10.0.0.0/8"
    # Messages in one request of the API: each is a row in the store, and a thousand of five tokens are more than a
    # context of 4,096 holds.
    max_messages: int = 1000
    max_body: int = 2_000_000  # largest request accepted, bytes
    allowed_origins: tuple[str, ...] = ()  # other sites whose pages may use the API, e.g. "https://example.org"

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise Problem(f"The chat's candidates is {self.candidates}.", hint="Give at least 2.")
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy, strict=False)
            except ValueError as error:
                hint = 'Give addresses or networks, as "10.0.0.0/8".'
                raise Problem(f"The chat's trusted_proxies has {proxy!r}: {error}.", hint=hint) from None
        if self.new_people_per_hour < 0:
            raise Problem(f"The chat's new_people_per_hour is {self.new_people_per_hour}.", hint="Give 0 or more.")
        if not 1 <= self.max_messages <= 4096:
            raise Problem(f"The chat's max_messages is {self.max_messages}.", hint="Give a number from 1 to 4096.")
        if self.loaded_versions < 1:
            raise Problem(f"The chat's loaded_versions is {self.loaded_versions}.", hint="Give at least 1.")
        for name in ("pair_share", "uniform_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise Problem(f"The chat's {name} is {getattr(self, name)}.", hint="Give a number from 0 to 1.")
