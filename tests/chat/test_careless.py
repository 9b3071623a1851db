"""The page under careless fingers: whatever is clicked and whenever, what is shown is what the store holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from chat.settings import ChatSettings
from lm.loading import Base
from lm.settings import Sampling
from store.conversations import conversations_of, messages_of
from store.schema import Generation, Rating

from .browsing import NARROW, WIDE, answered, me, opinions, say, visit
from .conftest import SAMPLING, Running, last_generation, running_chat, until

ROOT = Path(__file__).parent.parent.parent
BOX, COMMENT = "#box textarea", "#comment textarea, #comment input"
SLOW = Sampling(temperature=1.0, max_tokens=60, ignore_eos=True)
ALONE = ChatSettings(pair_share=0.0)


@contextmanager
def slow_page(browser: Browser, home: Path, base: Base, tokens: int = 60) -> Iterator[tuple[Page, Running]]:
    """A page whose answers take seconds."""
    with running_chat(home, base, ALONE, replace(SLOW, max_tokens=tokens), pause=0.03) as chat:
        for page in visit(browser, chat.url, WIDE):
            yield page, chat


def begin(page: Page, text: str) -> None:
    """Send a message, and wait until its answer is being written."""
    page.fill(BOX, text)
    page.press(BOX, "Enter")
    expect(page.locator("#chat .user-row").last).to_contain_text(text)
    expect(page.locator("#box .stop-button")).to_be_visible()


def questions(page: Page) -> list[str]:
    return page.locator("#chat .user-row").all_inner_texts()


def branch(chat: Running, page: Page) -> dict[str, list[str]]:
    """What the store holds of each of this person's conversations, by its first message."""
    with chat.store.session() as session:
        trees = [messages_of(session, each.id) for each in conversations_of(session, me(page))]
    return {tree[0].content: [message.role for message in tree] for tree in trees}


def test_enter_on_an_empty_box_changes_nothing(page: Page, running: Running) -> None:
    page.get_by_label("Use my chats and ratings for training").uncheck()
    expect(page.locator("#status")).to_contain_text("stay out")
    page.get_by_label("Use my chats and ratings for training").check()
    say(page, "Where is my parcel?")
    page.get_by_label("Like", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Thank you")
    for text in ("", "   "):
        page.fill(BOX, text)
        page.press(BOX, "Enter")
        expect(page.locator("#status")).to_contain_text("Write a message first")
        expect(page.locator("#chat .user-row")).to_have_text(["Where is my parcel?"])
        expect(page.locator("#chat .bot-row")).to_have_count(1)
        expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
        expect(page.get_by_label("Use my chats and ratings for training")).to_be_checked()
        expect(page.locator("#talks label")).to_have_text(["Where is my parcel?"])
        assert page.input_value(BOX) == text
    assert branch(running, page) == {"Where is my parcel?": ["user", "assistant"]}


def test_two_answers_of_nothing_in_an_empty_chat_are_none(page: Page, running: Running) -> None:
    page.click("#two")
    expect(page.locator("#status")).to_contain_text("Write a message first")
    expect(page.locator("#chat .message-row")).to_have_count(0)
    expect(page.locator("#pair")).to_have_count(0)
    expect(page.get_by_label("Use my chats and ratings for training")).to_be_checked()
    assert branch(running, page) == {}


def test_a_stream_belongs_to_its_conversation(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with slow_page(browser, tmp_path, tiny_base) as (page, chat):
        begin(page, "First")
        answered(page)
        page.click("#new-chat")
        expect(page.locator("#chat .message-row")).to_have_count(0)
        begin(page, "Second")
        page.locator("#talks label", has_text="First").click()
        expect(page.locator("#chat .user-row")).to_have_text(["First"])
        expect(page.locator("#box .submit-button")).to_be_visible()  # nothing is written here
        begin(page, "Third")
        assert questions(page) == ["First", "Third"]
        page.locator("#talks label", has_text="Second").click()
        expect(page.locator("#chat .user-row")).to_have_text(["Second"])
        expect(page.locator("#chat .bot-row")).to_have_count(1)
        expect(page.locator("#box .submit-button")).to_be_visible(timeout=20_000)
        expect(page.locator("#chat .bot-row")).to_have_count(1)
        until(lambda: chat.service.under_way == 0)
        turns = ["user", "assistant"]
        assert branch(chat, page) == {"First": turns * 2, "Second": turns}
        with chat.store.session() as session:
            rows = session.scalars(select(Generation).where(Generation.person_id == me(page))).all()
        assert {row.finish_reason for row in rows} == {"length"}, "nobody's answer was cut off"


def test_a_message_waits_while_an_answer_is_written(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with slow_page(browser, tmp_path, tiny_base) as (page, chat):
        begin(page, "First")
        page.fill(BOX, "Too early")
        page.press(BOX, "Enter")
        expect(page.locator("#status")).to_contain_text("an answer is being written here")
        expect(page.locator("#box .submit-button")).to_be_visible(timeout=20_000)
        expect(page.locator("#chat .bot-row")).to_have_count(1)
        assert page.input_value(BOX) == "Too early"
        assert branch(chat, page) == {"First": ["user", "assistant"]}


def test_an_answer_that_is_being_written_cannot_be_rated(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with slow_page(browser, tmp_path, tiny_base) as (page, _):
        begin(page, "First")
        answered(page)
        page.get_by_label("Like", exact=True).click()
        expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
        begin(page, "Second")
        expect(page.locator("#chat .bot-row")).to_have_count(2)
        expect(page.get_by_label("Liked", exact=True)).to_be_visible()
        visible = [each for each in page.get_by_label("Like", exact=True).all() if each.is_visible()]
        assert visible == []
        page.get_by_label("Liked", exact=True).click()  # the earlier one can be taken back meanwhile
        expect(page.get_by_label("Liked", exact=True)).to_have_count(0)
        answered(page)
        expect(page.get_by_label("Liked", exact=True)).to_have_count(0)
        expect(page.get_by_label("Like", exact=True)).to_have_count(2)


def test_a_refused_thumb_leaves_the_others(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, replace(ALONE, ratings_per_minute=1)) as chat:
        for page in visit(browser, chat.url, WIDE):
            say(page, "First")
            first = until(lambda page=page: last_generation(chat.store, me(page)))  # type: ignore[misc]
            say(page, "Second")
            page.get_by_label("Like", exact=True).first.click()
            expect(page.locator("#status")).to_contain_text("Thank you")
            for button in ("Like", "Dislike"):
                page.get_by_label(button, exact=True).last.click()
                expect(page.locator("#status")).to_contain_text("Not kept")
                expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
                expect(page.get_by_label("Disliked", exact=True)).to_have_count(0)
                expect(page.locator("#chat .bot-row")).to_have_count(2)
            page.get_by_label("Liked", exact=True).click()  # taking back is refused too, and the thumb still shows
            expect(page.locator("#status")).to_contain_text("Not kept")
            expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
            assert opinions(chat, first) == {"thumb": 1}


def test_a_change_of_mind_takes_its_reasons_along(page: Page, running: Running) -> None:
    say(page, "Where is my parcel?")
    kept = until(lambda: last_generation(running.store, me(page)))
    page.get_by_label("Like", exact=True).click()
    page.locator("#reasons").get_by_text("Clear", exact=True).click()
    until(lambda: opinions(running, kept).get("tags") == ["Clear"])
    page.fill(COMMENT, "Just so.")
    page.click("#keep")
    until(lambda: opinions(running, kept).get("comment") == "Just so.")
    page.get_by_label("Dislike", exact=True).click()
    expect(page.locator("#reasons")).to_contain_text("Too long")
    expect(page.locator("#reasons label.selected")).to_have_count(0)
    expect(page.locator(COMMENT)).to_have_value("")
    assert opinions(running, kept) == {"thumb": -1}
    page.locator("#reasons").get_by_text("Too long", exact=True).click()
    until(lambda: opinions(running, kept).get("tags") == ["Too long"])
    page.get_by_label("Disliked", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Taken back")
    expect(page.locator("#details")).to_have_count(0)
    assert opinions(running, kept) == {}


def test_the_panel_says_what_it_is_about_and_opens_again(page: Page, running: Running) -> None:
    say(page, "First")
    first = until(lambda: last_generation(running.store, me(page)))
    say(page, "Second")
    page.get_by_label("Like", exact=True).first.click()
    expect(page.locator("#about")).to_contain_text("About the answer")
    page.locator("#reasons").get_by_text("Clear", exact=True).click()
    until(lambda: opinions(running, first).get("tags") == ["Clear"])
    about = page.locator("#about q").inner_text()  # the words alone: Gradio's clock may stand beside them
    page.click("#close")
    expect(page.locator("#details")).to_have_count(0)
    assert opinions(running, first) == {"thumb": 1, "tags": ["Clear"]}
    page.locator("#chat .extra-feedback-option").first.click()
    expect(page.locator("#about q")).to_have_text(about)
    expect(page.locator("#reasons label.selected")).to_have_text(["Clear"])
    expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
    page.get_by_label("Dislike", exact=True).last.click()
    expect(page.locator("#reasons")).to_contain_text("What was wrong?")
    assert opinions(running, first) == {"thumb": 1, "tags": ["Clear"]}, "that was about another answer"


def test_words_that_were_not_kept_are_not_lost(page: Page, running: Running) -> None:
    say(page, "First")
    kept = until(lambda: last_generation(running.store, me(page)))
    page.get_by_label("Dislike", exact=True).click()
    page.fill(COMMENT, "Half a thought")
    say(page, "Second")
    expect(page.locator(COMMENT)).to_have_value("Half a thought")  # still open, and says what it is about
    page.get_by_label("Like", exact=True).last.click()  # it is about another answer now
    expect(page.locator("#reasons")).to_contain_text("What was good?")
    expect(page.locator(COMMENT)).to_have_value("")
    page.locator("#chat .extra-feedback-option").first.click()
    expect(page.locator(COMMENT)).to_have_value("Half a thought")
    page.click("#close")
    page.reload()
    expect(page.get_by_label("Disliked", exact=True)).to_have_count(1)
    page.locator("#chat .extra-feedback-option").first.click()
    expect(page.locator(COMMENT)).to_have_value("Half a thought")
    page.click("#keep")
    until(lambda: opinions(running, kept).get("comment") == "Half a thought")
    page.locator("#chat .extra-feedback-option").first.click()
    page.fill(COMMENT, "")
    page.click("#keep")
    expect(page.locator("#details")).to_have_count(0)
    until(lambda: "comment" not in opinions(running, kept))
    say(page, "Third")
    page.locator("#chat .extra-feedback-option").first.click()
    expect(page.locator("#about")).to_be_visible()
    expect(page.locator(COMMENT)).to_have_value("")
    page.click("#new-chat")  # nothing was typed: the panel goes
    expect(page.locator("#details")).to_have_count(0)


def test_a_draft_outlives_retry_reload_and_restart(
    browser: Browser, tmp_path: Path, tiny_base: Base, actions: ModuleType
) -> None:
    with actions.site(tmp_path, tiny_base, 0.0, SAMPLING, ALONE) as site:
        for page in visit(browser, site.url, WIDE, "AbortError|net::ERR_"):  # for a moment nobody answers
            say(page, "First")
            page.fill(BOX, "Half a question")
            page.get_by_label("Retry").click()
            answered(page)
            expect(page.locator(BOX)).to_have_value("Half a question")
            page.reload()
            expect(page.locator("#chat .user-row")).to_have_text(["First"])
            expect(page.locator(BOX)).to_have_value("Half a question")
            site.restart()
            page.reload()
            expect(page.locator("#chat .user-row")).to_have_text(["First"])
            expect(page.locator(BOX)).to_have_value("Half a question")
            page.press(BOX, "Enter")
            expect(page.locator("#chat .user-row")).to_have_text(["First", "Half a question"])
            answered(page)
            expect(page.locator(BOX)).to_have_value("")
            page.reload()
            expect(page.locator("#chat .user-row")).to_have_count(2)
            expect(page.locator(BOX)).to_have_value("")


def test_a_reload_in_the_middle_reads_on(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with slow_page(browser, tmp_path, tiny_base, tokens=120) as (page, chat):
        begin(page, "First")
        page.reload()
        expect(page.locator("#chat .user-row")).to_have_text(["First"])
        expect(page.locator("#box .stop-button")).to_be_visible()
        page.click("#box .stop-button")
        answered(page)
        begin(page, "Second")
        page.reload()
        answered(page)
        kept = until(lambda: last_generation(chat.store, me(page)))
        assert (kept.finish_reason, len(kept.token_ids)) == ("length", 120)
        expect(page.locator("#chat .bot-row")).to_have_count(2)


def test_the_open_conversation_stays_open_over_a_reload(page: Page) -> None:
    say(page, "First")
    page.click("#new-chat")
    say(page, "Second")
    page.locator("#talks label", has_text="First").click()
    expect(page.locator("#chat .user-row")).to_have_text(["First"])
    page.reload()
    expect(page.locator("#chat .user-row")).to_have_text(["First"])
    expect(page.locator("#talks label.selected")).to_have_text(["First"])
    page.click("#new-chat")
    expect(page.locator("#chat .user-row")).to_have_count(0)
    page.reload()
    expect(page.locator("#talks label")).to_have_count(2)
    expect(page.locator("#chat .user-row")).to_have_count(0)


def test_a_question_without_an_answer_can_be_asked_again(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ALONE) as chat:
        for page in visit(browser, chat.url, WIDE):
            page.fill(BOX, "Where? " * 999)
            page.press(BOX, "Enter")
            expect(page.locator("#status")).to_contain_text("No answer: the messages take")
            expect(page.locator("#chat .bot-row")).to_have_text(["No answer came. Retry asks again."])
            assert [each for each in page.get_by_label("Like", exact=True).all() if each.is_visible()] == []
            page.get_by_label("Edit").click()
            page.locator("#chat .user-row textarea").fill("Where?")
            page.get_by_label("Submit").click()
            answered(page)
            expect(page.locator("#chat .user-row")).to_have_text(["Where?"])
            expect(page.get_by_label("Like", exact=True)).to_have_count(1)


def test_two_that_are_the_same_are_one(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    certain = Sampling(temperature=1.0, top_k=1, max_tokens=12)
    with running_chat(tmp_path, tiny_base, ALONE, certain) as chat:
        for page in visit(browser, chat.url, WIDE):
            page.fill(BOX, "Which one?")
            page.click("#two")
            expect(page.locator("#status")).to_contain_text("only one answer to show", timeout=20_000)
            expect(page.locator("#pair")).to_have_count(0)
            expect(page.locator("#verdict")).to_have_count(0)
            expect(page.get_by_label("Like", exact=True)).to_have_count(1)
            with chat.store.session() as session:
                [row] = session.scalars(select(Generation).where(Generation.person_id == me(page)))
                assert (row.pair, row.side, row.propensity) == (None, None, 1.0)
                assert session.scalars(select(Rating)).all() == []


def test_nothing_shines_through_the_open_list(narrow: Page) -> None:
    say(narrow, "Hello from a telephone")
    narrow.get_by_label("Dislike", exact=True).click()
    expect(narrow.locator("#keep")).to_be_visible()
    narrow.click("#menu")
    expect(narrow.locator("#new-chat")).to_be_in_viewport()
    narrow.wait_for_function("document.querySelector('#side').getBoundingClientRect().left === 0")
    through = narrow.evaluate(
        """() => {
          const side = document.querySelector('#side'), width = side.getBoundingClientRect().width, found = [];
          for (let x = 4; x < width; x += 12) for (let y = 4; y < innerHeight; y += 8) {
            const top = document.elementFromPoint(x, y);
            if (top && !side.contains(top)) found.push(`${x},${y}: ${top.id || top.className}`);
          }
          return found;
        }"""
    )
    assert through == []
    assert narrow.viewport_size == NARROW


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bench/page_actions.py, of which this is the short form."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import page_actions

    return page_actions


def test_after_random_actions_the_store_is_what_is_shown(
    browser: Browser, tmp_path: Path, tiny_base: Base, actions: ModuleType
) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=30, ignore_eos=True)
    done = 0  # how many actions find something to click depends on how fast answers come
    with actions.site(tmp_path, tiny_base, 0.03, sampling, ChatSettings(pair_share=0.2)) as site:
        for seed in range(6):
            careless, found = actions.run(browser, site, seed, 12)
            assert found == [], f"seed {seed}: {careless.history}"
            done += sum(careless.done.values())
            if done >= 8:
                return
    raise AssertionError(f"of 72 actions only {done} found something to click")
