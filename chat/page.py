"""The page at /: its parts tied to what they do, mounted on the application."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.events import Dependency
from starlette.routing import Mount

from chat import browser
from chat.explorer import Explorer
from chat.live import LiveTurns
from chat.opinions import Opinions
from chat.page_calls import Page, PageCalls
from chat.parts import Parts, lay_out
from chat.screen import Screen
from chat.service import Service
from chat.settings import ChatSettings
from chat.style import CSS, HEAD, theme
from chat.turns import Turns

THREADS = 256  # of Gradio's own pool, whose default of 40 would make the 41st reader wait


def mount_page(app: FastAPI, service: Service, settings: ChatSettings) -> None:
    """Mount the page at / of `app`, behind its routes."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # where no loop runs, Gradio would make several and close none
        asyncio.run(_mount_in_loop(app, service, settings))
    else:
        _mount(app, service, settings)


async def _mount_in_loop(app: FastAPI, service: Service, settings: ChatSettings) -> None:
    _mount(app, service, settings)


def _mount(app: FastAPI, service: Service, settings: ChatSettings) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio sums up its last thousand events anew after every event, for a page that is off here.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(sys.maxsize)
    with Page(title=settings.title, analytics_enabled=False, fill_height=True) as page:
        parts = lay_out(settings.title, settings.examples)
        _tie(page, parts, service, settings)
    page.max_threads = THREADS
    page.queue(default_concurrency_limit=None, api_open=False)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme(),
        css=CSS,
        head=HEAD + browser.SCRIPT,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=settings.max_body,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount), "Gradio mounts its application last"
    mounted.app = PageCalls(mounted.app, page.inputs_by_event())


def _tie(page: gr.Blocks, parts: Parts, service: Service, settings: ChatSettings) -> None:
    """Tie the parts to their handlers.

    A handler changes the store, and gives back what is its own: the status, the panel, what was taken from the box. It
    ends by ringing the bell, and then `Screen.look` draws whatever has changed. One look follows the other, and one
    more follows if the bell rang meanwhile: so what is drawn last was read last, of the conversation that is open.
    While an answer is being written there a timer asks for it.
    """
    explorer = Explorer(
        service.store.home,
        service.base,
        candidates=settings.candidates,
        uniform_share=settings.uniform_share,
        look_seconds=settings.poll_seconds,
    )
    live = LiveTurns(service, explorer)
    screen, turns = Screen(service, parts, live), Turns(service, parts, live, settings.pair_share)
    opinions = Opinions(service, parts)
    chat, box, memory, status = parts.chat, parts.box, parts.memory, parts.status
    # Every event is answered by its own request. Through the queue, what is asked while Gradio's client closes the
    # stream of the event before gets no answer.
    common: dict[str, Any] = {
        "queue": False,
        "concurrency_limit": None,
        "show_progress": "hidden",
        "api_visibility": "private",
    }

    def ring(event: Dependency) -> None:
        event.then(None, [memory.seen], [memory.bell], js=browser.RING)

    look = gr.on(
        [memory.bell.change, parts.timer.tick],
        screen.look,
        [memory.at, memory.made, memory.seen],
        [
            *(parts.talks, chat, parts.pair, parts.left, parts.right, parts.verdict, box, parts.consent, status),
            *(memory.left_id, memory.seen, parts.timer),
        ],
        trigger_mode="always_last",
        js=browser.LOOK,
        **common,
    )
    for end in (look.success, look.failure):
        end(None, [memory.seen, parts.talks], [parts.talks], js=browser.LOOKED)
    loaded = page.load(screen.start, [memory.at], [memory.at], js=browser.RECALL, **common)
    ring(loaded.then(None, [memory.at], None, js=browser.BEGIN))
    page.load(None, [box], [box], js=browser.RECALL_DRAFT)
    box.change(None, [box], None, js=browser.KEEP_DRAFT)

    words = [parts.comment, parts.correction, memory.rated]
    panel = [parts.details, parts.about, parts.reasons, parts.comment, parts.correction, memory.rated]
    answered = [status, memory.sent, memory.made, memory.seen]
    here, asked = [memory.at, memory.made], {"outputs": answered, "js": browser.HERE, **common}
    for event in (
        # One event, so that a click on the heels of Enter does not send the same words twice.
        gr.on([box.submit, parts.two.click], turns.send, [box, *here], **asked),
        chat.example_select(turns.send_example, here, **asked),
        chat.retry(turns.retry, [chat], answered, **common),
        chat.edit(turns.edit, [chat], answered, **common),
    ):
        ring(event.then(None, [box, memory.sent, memory.made], [box], js=browser.TAKEN))
        event.then(opinions.tidy, words, panel, **common)
    box.stop(turns.stop, [memory.at], None, js=browser.HERE_ALONE, **common)

    judged: dict[str, Any] = {"outputs": [status, *panel, memory.kept, memory.seen, chat], **common}
    # By default a click is dropped while the one before is on its way to the store.
    thumbs = chat.like(opinions.thumb, [chat, memory.rated], trigger_mode="multiple", **judged)
    verdicts = [
        button.click(opinions.judge, [gr.State(verdict), memory.left_id], **judged)
        for verdict, button in parts.verdicts.items()
    ]
    for event in (thumbs, *verdicts):
        ring(event.then(None, words[2:] + words[:2], [*words[:2], parts.details], js=browser.RECALL_WORDS))
    reasons = parts.reasons.input(opinions.reasons, [parts.reasons, memory.rated], trigger_mode="always_last", **judged)
    ring(reasons)
    for event in (
        parts.keep.click(opinions.words, words, **judged),
        parts.comment.submit(opinions.words, words, **judged),
    ):
        ring(event.then(None, [memory.kept], None, js=browser.DROP_WORDS))
    for typed in (parts.comment.change, parts.correction.change):  # Gradio's `input` passes over what is pasted
        typed(None, words[2:] + words[:2], None, js=browser.KEEP_WORDS)
    parts.close.click(opinions.close, None, panel, **common)

    consent = parts.consent.input(opinions.consent, [parts.consent], trigger_mode="always_last", **judged)
    ring(consent)
    for event in (
        parts.talks.input(None, [parts.talks], None, js=browser.OPEN),
        parts.new.click(None, None, [parts.talks], js=browser.NEW),
    ):
        ring(event)
        event.then(opinions.tidy, words, panel, **common)
    parts.menu.click(None, js=browser.TOGGLE_SIDE)
    for each in (parts.talks.input, parts.new.click, parts.scrim.click):
        each(None, js=browser.CLOSE_SIDE)
