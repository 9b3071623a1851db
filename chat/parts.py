"""The components of the page, in their places. What they do: `turns` and `opinions`; what they show: `screen`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from reward.tags import BAD, GOOD

SAY_MORE = "Say more"  # beside an answer's thumbs: opens the panel
TICK = 0.25  # seconds between two looks at an answer that is being written


@dataclass(frozen=True)
class Parts:
    """Every component that a handler reads or changes."""

    menu: gr.Button
    scrim: gr.Button  # beside the opened list on a narrow page: closes it
    new: gr.Button
    talks: gr.Radio  # the conversations of this person; its value is the open one's id
    consent: gr.Checkbox  # whether this person's words and ratings may be learned from
    chat: gr.Chatbot
    pair: gr.Row  # two answers side by side
    left: gr.Markdown
    right: gr.Markdown
    verdict: gr.Row
    verdicts: dict[str, gr.Button]
    details: gr.Column  # the panel: what a person may say of an answer beside its thumb
    about: gr.HTML  # which answer that is
    reasons: gr.CheckboxGroup
    comment: gr.Textbox
    correction: gr.Textbox
    keep: gr.Button
    close: gr.Button
    status: gr.HTML
    box: gr.Textbox
    two: gr.Button
    memory: Memory
    timer: gr.Timer  # ticks while an answer is written in the conversation that is open


@dataclass(frozen=True)
class Memory:
    """What the page knows and does not show. It is the browser's: a server that was started anew needs none of it."""

    at: gr.Textbox  # where the browser puts the id of the open conversation for a handler; empty: a new one
    rated: gr.Textbox  # the id of the message that the panel is about
    sent: gr.Textbox  # the text that was taken from the box last
    made: gr.Textbox  # the id of the conversation that was begun with it
    kept: gr.Textbox  # the id of the message whose words were kept last
    left_id: gr.Textbox  # the id of the left one of two answers that wait for a verdict
    seen: gr.Textbox  # what `Screen` has shown, in its own words
    bell: gr.Textbox  # changes whenever there may be something to show


def lay_out(title: str, examples: Sequence[str]) -> Parts:
    """Lay the page out in the Blocks that are open; `examples` can be picked in an empty conversation."""
    memory = Memory(
        at=gr.Textbox(visible=False),
        rated=gr.Textbox(visible=False),
        sent=gr.Textbox(visible=False),
        made=gr.Textbox(visible=False),
        kept=gr.Textbox(visible=False),
        left_id=gr.Textbox(visible=False),
        seen=gr.Textbox(visible=False),
        bell=gr.Textbox(visible="hidden"),  # in the page, though unseen: only then it tells of its changes
    )
    with gr.Row(elem_id="house"):
        with gr.Column(elem_id="side"):
            gr.HTML(f"{html.escape(title)}<small>learns from what you rate</small>", elem_id="brand", padding=False)
            new = gr.Button("New chat", elem_id="new-chat")
            talks = gr.Radio([], label="Conversations", elem_id="talks", container=True)
            consent = gr.Checkbox(
                True, label="Use my chats and ratings for training", elem_id="consent", container=False
            )
        with gr.Column(elem_id="main"):
            menu = gr.Button("☰ Conversations", elem_id="menu")
            scrim = gr.Button("Close the conversations", elem_id="scrim")
            chat = gr.Chatbot(
                elem_id="chat",
                show_label=False,
                container=False,
                height="100%",
                layout="bubble",
                buttons=["copy"],
                editable="user",
                feedback_options=("Like", "Dislike", SAY_MORE),
                allow_tags=False,
                examples=[{"text": each} for each in examples],
                placeholder="## What can I do for you?\nRate an answer, and the model learns from it.",
            )
            with gr.Row(elem_id="pair", visible=False) as pair:
                with gr.Column(elem_classes="half"):
                    gr.HTML("Left answer", elem_classes="tag", padding=False)
                    left = gr.Markdown(elem_id="left")
                with gr.Column(elem_classes="half"):
                    gr.HTML("Right answer", elem_classes="tag", padding=False)
                    right = gr.Markdown(elem_id="right")
            with gr.Row(elem_id="verdict", visible=False) as verdict:
                verdicts = {
                    value: gr.Button(label, elem_id=f"verdict-{value}")
                    for value, label in (
                        ("left", "Left is better"),
                        ("right", "Right is better"),
                        ("tie", "Tie"),
                        ("both_bad", "Both are bad"),
                    )
                }
            status = gr.HTML(elem_id="status", padding=False)
            with gr.Column(elem_id="details", visible=False) as details:
                about = gr.HTML(elem_id="about", padding=False)
                # Every tag may be chosen: what is shown of them depends on the thumb.
                reasons = gr.CheckboxGroup([*GOOD, *BAD], label="Why?", elem_id="reasons")
                comment = gr.Textbox(placeholder="A comment, if you like", show_label=False, elem_id="comment")
                correction = gr.Textbox(
                    label="What would a better answer be?", lines=2, max_lines=8, elem_id="correction"
                )
                with gr.Row(elem_id="panel-buttons"):
                    close = gr.Button("Close", elem_id="close")
                    keep = gr.Button("Keep", elem_id="keep")
            with gr.Column(elem_id="composer"):
                box = gr.Textbox(
                    placeholder="Write a message",
                    show_label=False,
                    container=False,
                    lines=1,
                    max_lines=8,
                    autofocus=True,
                    submit_btn=True,
                    elem_id="box",
                )
            with gr.Row(elem_id="under"):
                two = gr.Button("Show me two answers", elem_id="two")
                gr.HTML(
                    "Answers may be wrong. Your ratings are kept to make them better.", elem_id="note", padding=False
                )
    return Parts(
        menu=menu,
        scrim=scrim,
        new=new,
        talks=talks,
        consent=consent,
        chat=chat,
        pair=pair,
        left=left,
        right=right,
        verdict=verdict,
        verdicts=verdicts,
        details=details,
        about=about,
        reasons=reasons,
        comment=comment,
        correction=correction,
        keep=keep,
        close=close,
        status=status,
        box=box,
        two=two,
        memory=memory,
        timer=gr.Timer(TICK, active=False),
    )
