"""Careless fingers on the page: after random actions at random moments, is what is shown what the store holds?

    python bench/page_actions.py [--sequences 50] [--actions 25] [--seed 0]

The page on the starter, in a real browser (Chromium, by playwright). The engine waits before each step, so that an
answer takes seconds and the actions fall into it: send, stop, open another conversation, thumbs, reasons, a comment
typed and kept or not, retry, edit, verdicts, consent, reload, Enter on an empty box, double clicks, a restart of the
server. After each sequence everything that is shown is compared with the store: messages and their order, thumbs, the
open conversation, the list, the pair, the consent; every message that left the box must stand once in the store, in
the conversation that was open; what did not leave it must still be in it. Prints the seed of each sequence that ends
with a difference, and writes bench/results/page_actions.json.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from machine import keep, machine
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as BrowserError
from sqlalchemy import select

from chat.app import build_app
from chat.history import thumbs, titles, view
from chat.markup import plain
from chat.people import COOKIE, of_cookie
from chat.server import claim, make_server
from chat.settings import ChatSettings
from chat.shown import UNANSWERED, show
from lm.backend import OwnEngine
from lm.engine import Engine
from lm.loading import Base, load_base
from lm.settings import EngineSettings, Sampling
from store.database import Store, open_store
from store.schema import Conversation, Message, Person, Rating

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
PAUSE = 0.05  # seconds before each step of the engine: an answer of 30 tokens takes 1.5 s and more
MOMENTS = (0.0, 0.0, 0.03, 0.1, 0.3, 0.8, 2.0)  # seconds between two actions
PATIENCE = 20.0  # seconds for the page to come to rest
CLICK = 1500  # milliseconds to wait for what is to be clicked: it may be going away

# What is on the screen. The text of a message as it was written stands in its label; a comment of markdown is not one.
LOOK = r"""() => {
  const shown = (e) => !!e && e.getClientRects().length > 0;
  const text = (e) => e ? e.innerText : '';
  const rows = [], thumbs = [];
  for (const row of document.querySelectorAll('#chat .message-row')) {
    const bot = row.classList.contains('bot-row');
    for (const said of row.querySelectorAll('[data-testid=user], [data-testid=bot]'))
      rows.push([bot ? 'assistant' : 'user', said.getAttribute('aria-label').replace(/^(user|bot)'s message: /, '')]);
    if (bot) {
      const buttons = row.nextElementSibling;
      const on = (label) => !!buttons && !!buttons.querySelector(`[aria-label="${label}"]`);
      thumbs.push(on('Liked') ? 'Like' : on('Disliked') ? 'Dislike' : null);
    }
  }
  const checked = document.querySelector('#talks input:checked');
  return {
    rows, thumbs,
    open: checked ? checked.value : '',
    titles: [...document.querySelectorAll('#talks label')].map((e) => e.innerText.trim()),
    consent: document.querySelector('#consent input').checked,
    pair: shown(document.querySelector('#pair'))
      ? [text(document.querySelector('#left')), text(document.querySelector('#right'))] : null,
    verdict: shown(document.querySelector('#verdict')),
    writing: shown(document.querySelector('#box .stop-button')),
    box: document.querySelector('#box textarea').value,
    panel: shown(document.querySelector('#details')),
    comment: (document.querySelector('#comment textarea, #comment input') ?? {}).value ?? '',
    words: Object.values(JSON.parse(localStorage.getItem('ratchet-words') || '{}')).map((each) => each[0]),
  };
}"""


class Site:
    """The page, served in this process on a slow engine; it can be stopped and started again on its port."""

    def __init__(self, home: Path, base: Base, pause: float, sampling: Sampling, settings: ChatSettings) -> None:
        self.store: Store = open_store(home)
        self._base, self._pause, self._sampling, self._settings = base, pause, sampling, settings
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve; returns when it is up."""
        engine = Engine(self._base, EngineSettings(slots=8, context=512))
        step = engine.step

        def slow_step() -> bool:
            time.sleep(self._pause)
            return step()

        engine.step = slow_step  # type: ignore[method-assign]
        app = build_app(self.store, OwnEngine(engine), self._settings, self._sampling)
        up = threading.Event()
        self._listener = claim("127.0.0.1", self._port)
        self._port = self._listener.getsockname()[1]
        self._server = make_server(app, ready=up.set)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        assert up.wait(60), "the server did not start"

    def stop(self) -> None:
        """End the server; what is being written is recorded as far as it came."""
        self._server.should_exit = True
        self._thread.join(60)
        self._listener.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def restart(self) -> None:
        """As an operator does it, while pages are open."""
        self.stop()
        self.start()


@contextmanager
def site(home: Path, base: Base, pause: float, sampling: Sampling, settings: ChatSettings) -> Iterator[Site]:
    """A site for as long as the block lasts."""
    it = Site(home, base, pause, sampling, settings)
    try:
        yield it
    finally:
        it.stop()
        it.store.close()


@dataclass
class Said:
    """A message that was sent: whether it left the box is seen before the next one is typed."""

    text: str
    open: str  # the conversation that was open; empty: a new one
    taken: bool | None = None


@dataclass
class Careless:
    """Somebody who clicks without waiting. Everything they do follows from `random`."""

    page: Page
    site: Site
    random: Random
    restarts: bool
    said: list[Said] = field(default_factory=list)
    draft: str = ""  # what they typed last
    comment: str = ""  # and into the panel
    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    number: int = 0
    history: list[str] = field(default_factory=list)  # every action, with the seconds since the first

    def act(self, count: int) -> None:
        """`count` actions, each at a random moment after the one before."""
        actions: list[tuple[int, Callable[[], Any]]] = [
            *((6, self.send), (2, self.send_by_button), (2, self.send_twice), (3, self.empty_enter), (2, self.two)),
            *((2, self.two_of_nothing), (1, self.example), (3, self.stop), (4, self.switch), (2, self.new)),
            *((5, self.thumb), (2, self.thumb_twice), (2, self.say_more), (3, self.reason), (2, self.type_comment)),
            *((1, self.keep), (1, self.close), (3, self.retry), (1, self.retry_twice), (2, self.edit)),
            *((3, self.verdict), (1, self.consent), (2, self.reload), (2, self.type_draft)),
            *(((1, self.restart),) if self.restarts else ()),
        ]
        begun = time.monotonic()
        for _ in range(count):
            [(_, action)] = self.random.choices(actions, [weight for weight, _ in actions])
            name = action.__name__
            try:
                found = action()
            except BrowserError:  # it went away under the finger
                found = False
            (self.missed if found is False else self.done)[name] += 1
            self.history.append(f"{time.monotonic() - begun:.2f} {name}{' (nothing there)' if found is False else ''}")
            self.page.wait_for_timeout(1000 * self.random.choice(MOMENTS))

    def shown(self) -> dict[str, Any]:
        """What is on the screen."""
        seen: dict[str, Any] = self.page.evaluate(LOOK)
        return seen

    def _note_taken(self) -> None:
        if self.said and self.said[-1].taken is None:
            self.said[-1].taken = self.said[-1].text not in self.page.input_value("#box textarea", timeout=CLICK)

    def _type(self) -> str:
        self._note_taken()
        self.number += 1
        self.draft = f"Where does order {self.number} go?"
        self.page.fill("#box textarea", self.draft, timeout=CLICK)
        return self.draft

    def _click(self, selector: str, double: bool = False) -> bool:
        """Click one of what is there; False where nothing is."""
        found = self.page.locator(selector)
        places = [place for place in range(found.count()) if found.nth(place).is_visible()]
        if not places:
            return False
        chosen = found.nth(self.random.choice(places))
        if double:
            chosen.dblclick(timeout=CLICK, no_wait_after=True)
        else:
            chosen.click(timeout=CLICK, no_wait_after=True)
        return True

    def _sent(self, press: Callable[[], Any]) -> Any:
        text = self._type()
        self.said.append(Said(text, self.shown()["open"]))
        return press()

    def send(self) -> None:
        self._sent(lambda: self.page.press("#box textarea", "Enter"))

    def send_by_button(self) -> Any:
        return self._sent(lambda: self._click("#box .submit-button"))

    def send_twice(self) -> None:
        def press() -> None:
            self.page.press("#box textarea", "Enter")
            self.page.press("#box textarea", "Enter")

        self._sent(press)

    def empty_enter(self) -> None:
        self._note_taken()
        self.draft = self.random.choice(("", "  "))
        self.page.fill("#box textarea", self.draft, timeout=CLICK)
        self.page.press("#box textarea", "Enter")

    def two(self) -> Any:
        return self._sent(lambda: self._click("#two", double=self.random.random() < 0.5))

    def two_of_nothing(self) -> Any:
        self._note_taken()
        self.page.fill("#box textarea", "", timeout=CLICK)
        self.draft = ""
        return self._click("#two")

    def example(self) -> Any:
        return self._click("#chat .example")

    def stop(self) -> Any:
        return self._click("#box .stop-button")

    def switch(self) -> Any:
        return self._click("#talks label")

    def new(self) -> Any:
        return self._click("#new-chat", double=self.random.random() < 0.3)

    def thumb(self) -> Any:
        return self._click("#chat [aria-label*=ike]")

    def thumb_twice(self) -> Any:
        return self._click("#chat [aria-label*=ike]", double=True)

    def say_more(self) -> Any:
        return self._click("#chat .extra-feedback-option")

    def reason(self) -> Any:
        return self._click("#reasons label")

    def type_comment(self) -> Any:
        if not self.page.locator("#comment textarea, #comment input").is_visible():
            return False
        self.number += 1
        self.page.fill("#comment textarea, #comment input", f"Comment {self.number}", timeout=CLICK)
        self.comment = f"Comment {self.number}"
        return True

    def keep(self) -> Any:
        return self._click("#keep")

    def close(self) -> Any:
        return self._click("#close")

    def retry(self) -> Any:
        return self._click("#chat [aria-label=Retry]")

    def retry_twice(self) -> Any:
        return self._click("#chat [aria-label=Retry]", double=True)

    def edit(self) -> Any:
        if not self._click("#chat [aria-label=Edit]"):
            return False
        self.number += 1
        self.page.fill("#chat .user-row textarea", f"What is {self.number} + 8?", timeout=CLICK)
        return self._click("#chat [aria-label=Submit]")

    def verdict(self) -> Any:
        return self._click("#verdict button", double=self.random.random() < 0.3)

    def consent(self) -> Any:
        return self._click("#consent input")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("#status span")

    def type_draft(self) -> None:
        self._type()

    def restart(self) -> None:
        self.site.restart()
        self.reload()


def me(page: Page) -> str:
    """The id of the person at this browser."""
    [cookie] = [each["value"] for each in page.context.cookies() if each["name"] == COOKIE]
    return of_cookie(cookie)


def stored(store: Store, person_id: str, open_: str) -> dict[str, Any]:
    """What the store says should be on the screen."""
    with store.session(reading=True) as session:
        seen = view(session, person_id, open_)
        rows = show(seen.path) + ([UNANSWERED] if seen.unanswered else [])
        given = thumbs(session, person_id, seen.path) + ([None] if seen.unanswered else [])
        return {
            "rows": [[row["role"], plain(row["content"])] for row in rows],  # a label says it as it was written
            "thumbs": given,
            "titles": [" ".join(title.split()) for _, title in titles(session, person_id)],
            "consent": session.get_one(Person, person_id).consent,
            "pair": [seen.pair.left.content, seen.pair.right.content] if seen.pair else None,
            "verdict": seen.pair is not None,
            "writing": False,
        }


def differences(careless: Careless) -> list[str]:
    """What the screen and the store do not agree on; the page is to be at rest."""
    shown, person_id = careless.shown(), me(careless.page)
    found = []
    wanted = stored(careless.site.store, person_id, shown["open"])
    for name, value in wanted.items():
        if _comparable(name, shown[name]) != _comparable(name, value):
            found.append(f"{name}: shown {shown[name]!r}, stored {value!r}")
    return found + _lost(careless, shown, person_id)


def _lost(careless: Careless, shown: dict[str, Any], person_id: str) -> list[str]:
    """Messages that are not where they were sent, or not once, and words that were typed and are nowhere."""
    found = []
    with careless.site.store.session(reading=True) as session:
        query = select(Message).join(Conversation, Conversation.id == Message.conversation_id)
        mine = list(session.scalars(query.where(Conversation.person_id == person_id, Message.role == "user")))
        comments = set(session.scalars(select(Rating.value).where(Rating.kind == "comment")))
    for each in careless.said:
        there = [message for message in mine if message.content == each.text]
        taken = each.taken if each.taken is not None else each.text not in shown["box"]
        if len(there) > 1 or (taken and not there):
            found.append(f"{each.text!r} stands {len(there)} times in the store")
        elif there and each.open and there[0].conversation_id != each.open:
            found.append(f"{each.text!r} was sent into {each.open} and stands in {there[0].conversation_id}")
        elif there and not each.open and there[0].parent_id is not None and each is careless.said[0]:
            found.append(f"{each.text!r} was to begin a conversation")
    sent = bool(careless.said) and careless.said[-1].text == careless.draft and careless.draft not in shown["box"]
    if shown["box"] != ("" if sent else careless.draft):
        found.append(f"the box has {shown['box']!r}, typed was {careless.draft!r}")
    if careless.comment and careless.comment not in {shown["comment"], *shown["words"], *comments}:
        found.append(f"the comment {careless.comment!r} is nowhere")
    return found


def _comparable(name: str, value: Any) -> Any:
    """Without what a browser makes of blanks, and of a pair what markdown makes of its texts."""
    if name == "pair":
        return value and [re.sub(r"[\W_]+", "", text) for text in value]
    if name == "rows":
        return [(role, " ".join(re.split(r"[\s\x00-\x1f\x7f-\x9f]+", text)).strip()) for role, text in value]
    return value


def at_rest(careless: Careless) -> list[str]:
    """The differences once the page has come to rest: they must be gone, and stay away."""
    end, agreed = time.monotonic() + PATIENCE, 0
    while True:
        found = differences(careless)
        agreed = 0 if found else agreed + 1
        if agreed == 3 or time.monotonic() > end:
            return found
        careless.page.wait_for_timeout(300)


@dataclass(frozen=True)
class Result:
    """What came of a sequence."""

    seed: int
    done: Counter[str]
    missed: Counter[str]
    differences: list[str]


def run(
    browser: Browser, place: Site, seed: int, actions: int, *, restarts: bool = False
) -> tuple[Careless, list[str]]:
    """One sequence by somebody new; returns what they did, and the differences at its end."""
    random = Random(seed)
    context = browser.new_context(viewport={"width": 1280, "height": 820})
    context.set_default_timeout(20_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        page.goto(place.url)
        page.wait_for_selector("#status span")
        careless = Careless(page, place, random, restarts)
        careless.act(actions)
        return careless, at_rest(careless) + [f"the page failed: {each}" for each in complaints]
    finally:
        context.close()


def chromium() -> str:
    """Where the browser is."""
    found = os.environ.get("RATCHET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise SystemExit("no Chromium was found: install one (deploy/browser.sh) or name it in RATCHET_CHROMIUM")
    return found


def sequences(seeds: Sequence[int], actions: int) -> list[Result]:
    """One sequence a seed, by a browser and on a site of its own."""
    results = []
    sampling, settings = Sampling(temperature=1.0, max_tokens=60), ChatSettings(pair_share=0.2)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(site(home, load_base(), PAUSE, sampling, settings))
        chrome = stack.enter_context(sync_playwright()).chromium
        browser = chrome.launch(executable_path=chromium(), args=list(ARGUMENTS))
        for seed in seeds:
            careless, found = run(browser, place, seed, actions, restarts=True)
            results.append(Result(seed, careless.done, careless.missed, found))
            print(f"seed {seed}: {sum(careless.done.values())} actions", *found, sep="\n  ", flush=True)
            if found:
                print("  " + ", ".join(careless.history), flush=True)
        browser.close()
    return results


def main() -> None:
    """Run the sequences, print the differences, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=50)
    parser.add_argument("--actions", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="of the first sequence; the next has the next one")
    parser.add_argument("--browsers", type=int, default=3, help="side by side, each with a server of its own")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.sequences)
    shares = [seeds[first :: given.browsers] for first in range(given.browsers)]
    with ProcessPoolExecutor(given.browsers, mp_context=get_context("spawn")) as pool:
        results = [each for share in pool.map(sequences, shares, [given.actions] * len(shares)) for each in share]
    done: Counter[str] = sum((each.done for each in results), Counter())
    missed: Counter[str] = sum((each.missed for each in results), Counter())
    bad = {str(each.seed): each.differences for each in results if each.differences}
    print(f"{len(results)} sequences, {sum(done.values())} actions, {len(bad)} with differences: {', '.join(bad)}")
    result = {
        "sequences": len(results),
        "seeds": [seeds[0], seeds[-1]],
        "actions": sum(done.values()),
        "sequences_with_differences": bad,
        "by_action": dict(sorted(done.items())),
        "nothing_to_click": dict(sorted(missed.items())),
        **machine("gradio", "playwright"),
    }
    keep("page_actions", result)


if __name__ == "__main__":
    main()
