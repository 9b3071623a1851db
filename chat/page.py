"""The page at /: its parts tied to what they do, mounted on the application."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import gradio as gr
from fastapi import FastAPI

from chat.explorer import Explorer
from chat.opinions import Opinions
from chat.parts import Parts, lay_out
from chat.service import Service
from chat.settings import ChatSettings
from chat.style import CLOSE_SIDE, CSS, HEAD, TOGGLE_SIDE, theme
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
    with gr.Blocks(title=settings.title, analytics_enabled=False, fill_height=True) as page:
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
        head=HEAD,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=settings.max_body,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
    )


def _tie(page: gr.Blocks, parts: Parts, service: Service, settings: ChatSettings) -> None:
    explorer = Explorer(
        service.store.home,
        service.base,
        candidates=settings.candidates,
        uniform_share=settings.uniform_share,
        look_seconds=settings.poll_seconds,
    )
    turns, opinions = Turns(service, parts, explorer, settings.pair_share), Opinions(service, parts)
    chat, box = parts.chat, parts.box
    outputs: list[Any] = [
        *(parts.talks, chat, box, parts.pair, parts.left, parts.right, parts.verdict, parts.status),
        *(parts.details, parts.reasons, parts.comment, parts.correction, parts.rated, parts.consent),
    ]
    common: dict[str, Any] = {
        "outputs": outputs,
        "concurrency_limit": None,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    answer = common | {"concurrency_id": "gen"}
    # Answered by their own request. Through the queue, what is asked while Gradio's client closes the stream of the
    # event before gets no answer: a panel would stay open, though its opinion is kept.
    stored = common | {"queue": False}

    page.load(opinions.start, None, **stored)
    box.submit(turns.send, [box, chat], **answer)
    parts.two.click(turns.send_for_two, [box, chat], **answer)
    chat.example_select(turns.send_example, [chat], **answer)
    chat.retry(turns.retry, [chat], **answer)
    chat.edit(turns.edit, [chat], **answer)
    box.stop(turns.stop, None, None, queue=False, api_visibility="private")

    # By default a click is dropped while the one before is on its way to the store.
    chat.like(opinions.thumb, [chat], trigger_mode="multiple", **stored)
    parts.reasons.input(opinions.reasons, [parts.reasons, parts.rated], trigger_mode="always_last", **stored)
    for event in (parts.keep.click, parts.comment.submit):
        event(opinions.words, [parts.comment, parts.correction, parts.rated], **stored)
    for verdict, button in parts.verdicts.items():
        button.click(opinions.judge, [gr.State(verdict), chat], **stored)

    parts.consent.input(opinions.consent, [parts.consent], trigger_mode="always_last", **stored)
    parts.talks.input(opinions.open, [parts.talks], trigger_mode="always_last", **stored)
    parts.new.click(opinions.open, [gr.State(None)], **stored)
    parts.menu.click(None, js=TOGGLE_SIDE)
    for each in (parts.talks.input, parts.new.click, parts.scrim.click):
        each(None, js=CLOSE_SIDE)
