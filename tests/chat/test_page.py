"""The page in a real browser. What a person does there is looked up in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from chat.settings import ChatSettings
from lm.loading import Base
from lm.settings import Sampling
from reward.exploration import thompson_chances
from reward.model import load_reward
from store.conversations import conversations_of, messages_of
from store.ratings import present
from store.schema import Generation, Person

from .browsing import NARROW, WIDE, answered, me, opinions, say, visit
from .conftest import Running, add_adapter, give_reward, last_generation, running_chat, until


def test_an_answer_is_rated_with_reasons_comment_and_correction(page: Page, running: Running) -> None:
    say(page, "Where is my parcel?")
    kept = until(lambda: last_generation(running.store, me(page)))
    assert kept.surface == "page"
    assert kept.messages == [{"role": "user", "content": "Where is my parcel?"}]
    expect(page.locator("#status")).to_contain_text("the base model")

    page.get_by_label("Like", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Thank you. Kept with the base model's answer")
    assert opinions(running, kept) == {"thumb": 1}
    page.locator("#reasons").get_by_text("Clear", exact=True).click()
    page.locator("#reasons").get_by_text("Good tone", exact=True).click()
    until(lambda: opinions(running, kept).get("tags") == ["Clear", "Good tone"])
    page.fill("#comment textarea, #comment input", "Just so.")
    page.fill("#correction textarea", "It arrives on Thursday.")
    page.click("#keep")
    expect(page.locator("#details")).to_have_count(0)
    assert opinions(running, kept) == {
        "thumb": 1,
        "tags": ["Clear", "Good tone"],
        "comment": "Just so.",
        "correction": "It arrives on Thursday.",
    }

    page.get_by_label("Liked", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Taken back")
    assert "thumb" not in opinions(running, kept)
    page.get_by_label("Dislike", exact=True).click()
    expect(page.locator("#reasons")).to_contain_text("Too long")
    assert opinions(running, kept)["thumb"] == -1


def test_a_reload_shows_the_conversation_and_the_thumbs_again(page: Page, running: Running) -> None:
    say(page, "First question")
    page.get_by_label("Like", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Thank you")
    say(page, "Second question")
    page.reload()
    expect(page.locator("#chat .user-row")).to_have_count(2)
    expect(page.locator("#chat .bot-row")).to_have_count(2)
    expect(page.get_by_label("Liked", exact=True)).to_have_count(1)
    say(page, "Third question")
    kept = until(lambda: last_generation(running.store, me(page)))
    assert [each["content"] for each in kept.messages][::2] == ["First question", "Second question", "Third question"]


def test_a_person_may_keep_their_words_out_of_training(page: Page, running: Running) -> None:
    say(page, "Learn nothing from this")
    box = page.get_by_label("Use my chats and ratings for training")
    expect(box).to_be_checked()
    box.uncheck()
    expect(page.locator("#status")).to_contain_text("stay out of every later training")
    with running.store.session(reading=True) as session:
        assert not session.get_one(Person, me(page)).consent
    page.reload()
    expect(page.get_by_label("Use my chats and ratings for training")).not_to_be_checked()
    page.get_by_label("Use my chats and ratings for training").check()
    expect(page.locator("#status")).to_contain_text("may be learned from")
    with running.store.session(reading=True) as session:
        assert session.get_one(Person, me(page)).consent


def test_conversations_are_listed_and_opened(page: Page, running: Running) -> None:
    say(page, "About parcels")
    page.click("#new-chat")
    expect(page.locator("#chat .user-row")).to_have_count(0)
    say(page, "About translation")
    expect(page.locator("#talks label")).to_have_text(["About translation", "About parcels"])
    page.locator("#talks label", has_text="About parcels").click()
    expect(page.locator("#chat .user-row")).to_have_text(["About parcels"])
    with running.store.session() as session:
        assert len(conversations_of(session, me(page))) == 2


def test_an_example_is_sent_as_it_stands(page: Page, running: Running) -> None:
    page.locator("#chat").get_by_text("What is 12 + 8?").click()
    answered(page)
    kept = until(lambda: last_generation(running.store, me(page)))
    assert kept.messages == [{"role": "user", "content": "What is 12 + 8?"}]


def test_everybody_sees_their_own(page: Page, narrow: Page) -> None:
    say(page, "My secret")
    narrow.reload()
    expect(narrow.locator("#status")).to_contain_text("Answers come from")
    expect(narrow.locator("#chat .user-row")).to_have_count(0)
    assert me(page) != me(narrow)


@pytest.mark.parametrize("verdict", ["right", "both_bad"])
def test_two_answers_are_compared(page: Page, running: Running, verdict: str) -> None:
    page.fill("#box textarea", "Which one?")
    page.click("#two")
    answered(page)
    until(lambda: last_generation(running.store, me(page)))
    with running.store.session() as session:
        halves = session.query(Generation).filter_by(person_id=me(page)).all()
    by_side = {each.side: each for each in halves}
    assert len(halves) == 2
    assert halves[0].pair == halves[1].pair is not None
    page.reload()  # the pair waits for its verdict
    page.click(f"#verdict-{verdict}")
    expect(page.locator("#status")).to_contain_text("You chose")
    expect(page.locator("#pair")).to_have_count(0)
    with running.store.session() as session:
        [rating] = present(session, by_side["left"].id)
    assert (rating.kind, rating.value, rating.other_id) == ("pair", verdict, by_side["right"].id)
    if verdict == "both_bad":
        page.fill("#correction textarea", "Neither: the blue one.")
        page.click("#keep")
        expect(page.locator("#details")).to_have_count(0)
        assert opinions(running, by_side["left"])["correction"] == "Neither: the blue one."
    say(page, "Go on")
    chosen = by_side["right" if verdict == "right" else "left"]
    assert until(lambda: last_generation(running.store, me(page))).messages[1]["content"] == chosen.text


def test_answering_again_and_editing_make_siblings(page: Page, running: Running) -> None:
    say(page, "Once")
    first = until(lambda: last_generation(running.store, me(page)))
    page.get_by_label("Like", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Thank you")
    page.get_by_label("Retry").click()
    answered(page)
    again = until(lambda: last_generation(running.store, me(page)))
    assert again.id != first.id
    expect(page.get_by_label("Like", exact=True)).to_have_count(1)  # the thumb was the other answer's
    page.get_by_label("Edit").click()
    page.locator("#chat .user-row textarea").fill("Twice")
    page.get_by_label("Submit").click()
    expect(page.locator("#chat .user-row")).to_contain_text("Twice")
    answered(page)
    until(lambda: last_generation(running.store, me(page)).messages[0]["content"] == "Twice")  # type: ignore[union-attr]
    with running.store.session() as session:
        [conversation] = conversations_of(session, me(page))
        tree = messages_of(session, conversation.id)
    assert [each.role for each in tree] == ["user", "assistant", "assistant", "user", "assistant"]
    assert tree[1].parent_id == tree[2].parent_id == tree[0].id
    assert tree[3].parent_id is None
    assert opinions(running, first) == {"thumb": 1}
    assert opinions(running, again) == {}


def test_a_narrow_page_fits(narrow: Page, running: Running) -> None:
    def overhang() -> int:
        return int(narrow.evaluate("document.scrollingElement.scrollWidth")) - NARROW["width"]

    say(narrow, "Hello from a telephone")
    narrow.get_by_label("Dislike", exact=True).click()
    expect(narrow.locator("#keep")).to_be_visible()
    assert overhang() <= 0
    expect(narrow.locator("#box textarea")).to_be_in_viewport()
    expect(narrow.locator("#new-chat")).not_to_be_in_viewport()
    narrow.click("#menu")
    expect(narrow.locator("#new-chat")).to_be_in_viewport()
    narrow.click("#scrim", position={"x": 360, "y": 400})
    expect(narrow.locator("#new-chat")).not_to_be_in_viewport()
    narrow.click("#menu")
    narrow.click("#new-chat")
    expect(narrow.locator("#new-chat")).not_to_be_in_viewport()
    narrow.fill("#box textarea", "Two, please")
    narrow.click("#two")
    answered(narrow)
    for button in ("left", "right", "tie", "both_bad"):
        expect(narrow.locator(f"#verdict-{button}")).to_be_in_viewport()
    assert overhang() <= 0


def test_stopping_keeps_what_there_is_and_leaving_lets_it_be_written(
    browser: Browser, tmp_path: Path, tiny_base: Base
) -> None:
    long = Sampling(temperature=1.0, max_tokens=100, ignore_eos=True)
    with running_chat(tmp_path, tiny_base, ChatSettings(pair_share=0.0), long, pause=0.03) as chat:
        for page in visit(browser, chat.url, WIDE):
            page.fill("#box textarea", "Tell me a long story")
            page.press("#box textarea", "Enter")
            page.click("#box button.stop-button")
            expect(page.locator("#status")).to_contain_text("Stopped.", timeout=20_000)
            kept = until(lambda page=page: last_generation(chat.store, me(page)))  # type: ignore[misc]
            assert kept.finish_reason == "cancelled"
            page.get_by_label("Dislike", exact=True).click()
            expect(page.locator("#status")).to_contain_text("Thank you")
            page.fill("#box textarea", "And another")
            page.press("#box textarea", "Enter")
            page.locator("#box button.stop-button").wait_for()
            person = me(page)

        def left() -> bool:
            newest = last_generation(chat.store, person)
            return newest is not None and newest.id != kept.id and len(newest.token_ids) == 100

        until(left)


def two_answers(page: Page, chat: Running, text: str) -> list[Generation]:
    """Ask for two answers and wait for them: the left one and the right one, as the store has them."""
    page.fill("#box textarea", text)
    page.click("#two")
    expect(page.locator("#chat .user-row").last).to_contain_text(text, timeout=20_000)
    answered(page)
    with chat.store.session() as session:
        rows = session.query(Generation).filter_by(person_id=me(page)).order_by(Generation.created).all()
    return sorted((row for row in rows if row.messages[-1]["content"] == text), key=lambda row: str(row.side))


def test_a_reward_model_chooses_the_two_unless_a_canary_is_tried(
    browser: Browser, tmp_path: Path, tiny_base: Base, fitted: Path
) -> None:
    settings = ChatSettings(pair_share=0.0, uniform_share=0.0, poll_seconds=0.0)
    seeded = Sampling(temperature=1.0, max_tokens=12, seed=100)
    with running_chat(tmp_path, tiny_base, settings, seeded) as chat:
        for page in visit(browser, chat.url, WIDE):
            plain = two_answers(page, chat, "Before any rating")
            assert [row.sampling["seed"] for row in plain] == [100, 101]
            assert {(row.draw, row.propensity) for row in plain} == {(None, 1.0)}

            give_reward(fitted, tmp_path)
            page.click("#new-chat")
            drawn = two_answers(page, chat, "Choose for me")
            asked = [chat.ask("Choose for me", seed=100 + index).json() for index in range(6)]
            said = {100 + index: each["choices"][0]["message"]["content"] for index, each in enumerate(asked)}
            # Asked alone an answer may have another last letter: one row's product rounds otherwise than six.
            texts = list(dict.fromkeys({**said, **{row.sampling["seed"]: row.text for row in drawn}}.values()))
            judge = load_reward(fitted, tiny_base)
            chances = thompson_chances(judge.members([drawn[0].messages] * len(texts), texts))
            first, second = sorted(texts.index(row.text) for row in drawn)
            assert first != second
            for row in drawn:
                assert row.draw == "thompson"
                assert row.propensity == pytest.approx(float(chances[first, second]))
            assert drawn[0].pair == drawn[1].pair
            page.reload()  # it waits for its verdict as any other
            page.click("#verdict-left")
            expect(page.locator("#status")).to_contain_text("You chose")

            canary = add_adapter(chat.store, tiny_base, 3, status="canary")
            until(lambda: chat.service.watcher.canary)
            tried = two_answers(page, chat, "Try the new one")
            assert {row.version_id for row in tried} == {0, canary}
            assert {(row.draw, row.propensity) for row in tried} == {(None, 0.5)}


def test_choosing_can_be_stopped(browser: Browser, tmp_path: Path, tiny_base: Base, fitted: Path) -> None:
    give_reward(fitted, tmp_path)
    long = Sampling(temperature=1.0, max_tokens=100, ignore_eos=True)
    with running_chat(tmp_path, tiny_base, ChatSettings(pair_share=0.0), long, pause=0.03) as chat:
        for page in visit(browser, chat.url, WIDE):
            page.fill("#box textarea", "Tell me two long stories")
            page.click("#two")
            expect(page.locator("#pair")).to_be_visible()
            expect(page.locator("#verdict")).not_to_be_visible()
            expect(page.locator("#status")).to_contain_text("0 of 6")
            page.click("#box button.stop-button")
            answered(page)
            page.click("#verdict-right")
            expect(page.locator("#status")).to_contain_text("You chose")
            with chat.store.session() as session:
                rows = session.query(Generation).filter_by(person_id=me(page)).all()
            assert [(row.finish_reason, row.draw) for row in rows] == [("cancelled", None)] * 2

            page.fill("#box textarea", "And two more")
            page.click("#two")
            page.locator("#box button.stop-button").wait_for()
            until(lambda: chat.service.under_way)
            person = me(page)

        def left() -> bool:
            with chat.store.session() as session:
                return session.query(Generation).filter_by(person_id=person).count() == 4

        until(left)


def test_by_chance_two_answers_are_shown(browser: Browser, tmp_path: Path, tiny_base: Base) -> None:
    with running_chat(tmp_path, tiny_base, ChatSettings(pair_share=1.0)) as chat:
        for page in visit(browser, chat.url, WIDE):
            say(page, "Surprise me")
            expect(page.locator("#verdict-tie")).to_be_visible()
            say(page, "I will not judge")  # nobody has to
            with chat.store.session() as session:
                left = session.query(Generation).filter_by(person_id=me(page), side="left").order_by("created").first()
                assert left is not None
                assert present(session, left.id) == []
            assert until(lambda page=page: last_generation(chat.store, me(page))).messages[1]["content"] == left.text  # type: ignore[misc]
