"""The components of the page, in their places. What they do is in `turns` and `opinions`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr


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
    details: gr.Column  # what a person may add to a thumb
    reasons: gr.CheckboxGroup
    comment: gr.Textbox
    correction: gr.Textbox
    keep: gr.Button
    rated: gr.Textbox  # unseen: the id of the message that the details are about
    status: gr.HTML
    box: gr.Textbox
    two: gr.Button


def lay_out(title: str, examples: Sequence[str]) -> Parts:
    """Lay the page out in the Blocks that are open; `examples` can be picked in an empty conversation."""
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
                feedback_options=("Like", "Dislike"),
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
                reasons = gr.CheckboxGroup([], label="Why?", elem_id="reasons")
                comment = gr.Textbox(placeholder="A comment, if you like", show_label=False, elem_id="comment")
                correction = gr.Textbox(
                    label="What would a better answer be?", lines=2, max_lines=8, elem_id="correction"
                )
                keep = gr.Button("Keep", elem_id="keep")
                rated = gr.Textbox(visible=False)
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
        reasons=reasons,
        comment=comment,
        correction=correction,
        keep=keep,
        rated=rated,
        status=status,
        box=box,
        two=two,
    )
