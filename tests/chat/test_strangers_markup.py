"""Messages that would be more than messages: HTML, styles, forms, pictures and links in what others write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from chat.browser import SCRIPT
from chat.markup import PLAIN, TAG, answer_markup, plain, text_markup
from store.conversations import add_message, new_conversation
from store.database import Store
from store.schema import Generation

from .browsing import WIDE, me, say, visit
from .conftest import Running, last_generation, until

ATTACKS = [
    "%%%%%%LATEX_BLOCK_0%%% $$<form>$$ %%%LATEX_BLOCK_1%%%",
    '<div style="position: fixed; inset: 0; background: red">Your session has ended</div>',
    '<form action="/enter" method="post"><input name="key"><button>Enter your key</button></form>',
    '<a style="position:fixed;top:0" href="https://evil.example">Sign in</a>',
    "<style>#house { display: none }</style>",
    "<img src=x onerror=alert(1)><svg onload=alert(1)></svg><iframe srcdoc=x></iframe>",
    "![a](https://evil.example/x.png) ![b][c]\n\n[c]: data:image/png;base64,AAAA",
    "```html\n<b>kept</b>\n``` <form>\n\n</code></pre><form>",
    "`` ` <form> `` <form> ` `` <form>",
    '$$x" style="position:fixed" $$ [a]($$b"onclick="alert(1)$$) %%%LATEX_BLOCK_0%%%',
    "$$ ` $$ <form> ` <form>\n~~~\n<form>\n\n> ~~~\n<form>",
    "    <form>\n\t<form>\n- a\n\n      <form>\n\n\\<form> \\\\<form> \\`<form>\\`",
    "<!-- a --><form><![CDATA[<form>]]><?x <form> ?>",
    "&lt;form&gt; &#60;form&#62; <<form>form> <form\n>",
    "| a | b |\n|---|---|\n| <form> | `<form>` |",
    "[x](javascript:alert(1)) [x](data:text/html,<form>) [x](<javascript:alert(1)>) <javascript:alert(1)>",
    "```\n" + "<form>\n" * 3,
    "<pre><form></pre> <i><form></i> <code>`<form>`</code>",
]
HARMLESS = {
    *("p", "br", "strong", "em", "del", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "hr"),
    *("table", "thead", "tbody", "tr", "th", "td", "code", "pre", "a", "i", "input", "span", "div"),
}

PIECES = st.sampled_from(
    [
        *"`~<>&$%!\\[]()*_-#|\n \tax1.",
        "```",
        "~~~",
        "$$",
        "<form>",
        "</i>",
        "&#60;",
        "%%%LATEX_BLOCK_0%%%",
        "\n\n",
        "- ",
    ]
)
TEXTS = st.lists(PIECES | st.characters(codec="utf-8"), max_size=40).map("".join)


@given(text=TEXTS)
def test_nothing_is_a_tag_but_our_own_and_every_letter_comes_back(text: str) -> None:
    for markup in (text_markup(text), answer_markup(text)):
        left = TAG.sub("", markup)
        assert "<" not in left
        assert "&" not in re.sub(r"&#\d+;", "", left)
        assert plain(markup) == text
    assert "`" not in answer_markup(text)
    assert "%%%" not in answer_markup(text)
    formulas = "".join(re.findall(r"\$\$(.+?)\$\$", answer_markup(text), re.DOTALL))
    assert re.search(r"[!-/:-@\[-`{-~]", re.sub(r"&#\d+;", "", formulas)) is None
    assert re.search(r"!\[", answer_markup(text)) is None


@pytest.mark.parametrize("text", ["`" * 50_000, "` a " * 20_000, "```\n" * 20_000, "$$ " * 20_000, "<https://" * 9000])
def test_long_nonsense_is_read_in_linear_time(text: str) -> None:
    assert plain(answer_markup(text)) == text


def test_markdown_stays_markdown() -> None:
    kept = "# A\n\n*b* **c** ~~d~~ [e](https://x.example/?a=1) > f\n\n- g\n1. h\n\n| i | j |\n|---|---|\n|1|2|\n\n> k"
    assert answer_markup(kept) == kept


@pytest.fixture(scope="module")
def reader(browser: Browser, running: Running) -> Iterator[Page]:
    """Somebody's page, for one module."""
    yield from visit(browser, running.url, WIDE)


def told(store: Store, page: Page, question: str, *answers: str) -> None:
    """A conversation of this person, with an answer that a poisoned model gave; two answers are a pair."""
    person = me(page)
    with store.session() as session:
        conversation = new_conversation(session, person, "page")
        asked = add_message(session, conversation.id, None, "user", question)
        for side, text in zip(("left", "right"), answers, strict=False):
            kept = Generation(
                person_id=person,
                conversation_id=conversation.id,
                version_id=0,
                messages=[{"role": "user", "content": question}],
                text=text,
                token_ids=[],
                logprobs=[],
                sampling={},
                surface="page",
                finish_reason="stop",
                latency=0.1,
                **({"pair": f"pair-{conversation.id}", "side": side} if len(answers) > 1 else {}),
            )
            session.add(kept)
            session.flush()
            add_message(session, conversation.id, asked.id, "assistant", text, generation_id=kept.id)
    page.reload()
    expect(page.locator("#status")).to_contain_text("Answers come from", timeout=20_000)
    page.locator("#talks label").first.click()


def strange(page: Page, where: str) -> list[Any]:
    """The elements under `where` that markdown does not write, and those that carry a style or an event."""
    return list(
        page.evaluate(
            """([where, harmless]) => [...document.querySelectorAll(where)]
              .filter((each) => !each.closest('.katex, .katex-error, .katex-display, .copy_code_button'))
              .filter((each) => !harmless.includes(each.tagName.toLowerCase())
                || (each.tagName === 'INPUT' && each.type !== 'checkbox')
                || [...each.attributes].some((a) => a.name === 'style' || a.name.startsWith('on'))
                || /^(javascript|data|vbscript):/i.test(each.getAttribute('href') ?? ''))
              .map((each) => each.outerHTML)""",
            [where, sorted(HARMLESS)],
        )
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_in_a_message_is_text(reader: Page, running: Running, attack: str) -> None:
    told(running.store, reader, attack, attack)
    expect(reader.locator("#chat .bot-row")).to_have_count(1)
    own = reader.locator("#chat .user-row .prose")
    until(lambda: (own.text_content() or "").strip() == attack.strip())
    assert strange(reader, "#chat .message-content *, #chat .prose *") == []
    assert reader.locator("#talks form, #talks img, #talks a").count() == 0


def test_html_in_a_pair_is_text(reader: Page, running: Running) -> None:
    attack = "\n\n".join(ATTACKS[:4])
    told(running.store, reader, "Which?", attack, attack + "\n\n" + ATTACKS[8])
    expect(reader.locator("#left")).to_contain_text("Your session has ended")
    expect(reader.locator("#right")).to_contain_text("Your session has ended")
    assert strange(reader, "#left .prose *, #right .prose *") == []


def test_markdown_code_and_formulas_are_shown_right(reader: Page, running: Running) -> None:
    answer = (
        "# Title\n\nSome **bold** and `a < b && c` text, 1 < 2 & 3.\n\n"
        "```c\n#include <stdio.h>\n\n  int *a = &b;\n```\n\n"
        "- one\n- two\n  ```\n  x\n    y\n  ```\n\n| h | i |\n|---|---|\n| 1 | `|` |\n\n"
        "[link](https://x.example/?a=1&b=2)\n\n"
        "$$ a < b \\\\ c $$\n\n<https://y.example/>"
    )
    told(running.store, reader, "2*3*4 and <b>\n\n  # no title\n- x", answer)
    bot = reader.locator("#chat .bot-row .prose")
    expect(bot.locator("h1")).to_have_text("Title")
    expect(bot.locator("strong")).to_have_text("bold")
    expect(bot.locator("p code").first).to_have_text("`a < b && c`")
    assert bot.locator("p code").first.inner_text() == "a < b && c"
    code = [each.inner_text().rstrip("\n") for each in bot.locator("pre").all()]
    assert code == ["#include <stdio.h>\n\n  int *a = &b;", "x\n  y"]
    expect(bot.locator("td")).to_have_count(2)
    expect(bot.locator("li")).to_have_count(2)
    assert [each.get_attribute("href") for each in bot.locator("a").all()] == [
        "https://x.example/?a=1&b=2",
        "https://y.example/",
    ]
    expect(bot.locator(".katex-display")).to_have_count(1)
    expect(bot).to_contain_text("1 < 2 & 3.")
    user = reader.locator("#chat .user-row .prose")
    assert user.inner_text().strip("\n") == "2*3*4 and <b>\n\n  # no title\n- x"


def test_what_is_edited_and_copied_is_what_was_written(browser: Browser, running: Running) -> None:
    written = "Is <b> *bold*?\n  $$x$$ & `y`"
    for page in visit(browser, running.url, WIDE):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        say(page, written.splitlines()[0])
        page.get_by_label("Edit", exact=True).first.click()
        box = page.locator("#chat .edit-textarea")
        expect(box).to_have_value(written.splitlines()[0])
        box.fill(written)
        page.get_by_label("Submit", exact=True).first.click()
        kept = until(
            lambda page=page: (
                found
                if (found := last_generation(running.store, me(page))) and "$$" in found.messages[0]["content"]
                else None
            )
        )
        assert kept.messages == [{"role": "user", "content": written}]
        expect(page.locator("#chat .user-row .prose")).to_have_text(written)
        said = page.locator("#chat [data-testid=user]")
        expect(said).to_have_attribute("aria-label", f"user's message: {written}")
        told(running.store, page, "Copy", "`a<b` & *c*")
        expect(page.locator("#chat .bot-row")).to_contain_text("a<b")
        page.locator("#chat [aria-label*=Copy]").last.click()
        until(lambda page=page: page.evaluate("navigator.clipboard.readText()") == "`a<b` & *c*")


def test_the_browser_reads_markup_as_we_do(reader: Page) -> None:
    assert PLAIN in SCRIPT
    for attack in ATTACKS:
        for markup in (text_markup(attack), answer_markup(attack)):
            assert reader.evaluate(f"(markup) => ({PLAIN})(markup)", markup) == attack


def test_templates_in_an_answer_are_text_in_the_panel(reader: Page, running: Running) -> None:
    told(running.store, reader, "Panel", "{{7}} ${7*7} <form>")
    expect(reader.locator("#chat .bot-row .prose")).to_have_text("{{7}} ${7*7} <form>")
    reader.get_by_label("Like", exact=True).click()
    expect(reader.locator("#about")).to_contain_text("{{7}} ${7*7} <form>")
    assert reader.locator("#about form").count() == 0
