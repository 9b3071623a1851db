"""Whether an answer is in the language of its question: blamed where it is certain, and nobody else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.languages import asks_for_another, foreign_share, language, prose

ENGLISH = "It left the warehouse on Monday and arrives on Thursday, so you will have it soon."
GERMAN = "Es ist noch auf dem Weg und wird am Montag bei Ihnen sein, bitte haben Sie Geduld."
SPANISH = "La estación está en el centro y los trenes son para ir a la ciudad con un billete."
CHINESE = "它在周一离开了仓库，星期四会送到你的家。"
JAPANESE = "荷物は月曜日に倉庫を出ました。木曜日に届きます。"
RUSSIAN = "Она вышла со склада в понедельник и будет у вас в четверг."


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where is my parcel?", CHINESE),
        ("Where is my parcel?", "太阳很暖和"),
        ("Where is my parcel?", RUSSIAN),
        ("Where is my parcel?", GERMAN),
        ("Wo ist mein Paket?", ENGLISH),
        ("Où est la gare et comment aller dans la ville ?", SPANISH),
        ("我的包裹在哪里？", ENGLISH),
        ("我的包裹在哪里？", JAPANESE),
        ("荷物はどこですか。", CHINESE),
        ("Где мой iPhone?", ENGLISH),
    ],
)
def test_another_language_is_foreign_in_full(question: str, answer: str) -> None:
    assert foreign_share(question, answer) == 1


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where is my parcel?", ENGLISH),
        ("Wo ist mein Paket?", GERMAN),
        ("我的包裹在哪里？", CHINESE),
        ("荷物はどこですか。", JAPANESE),
        ("荷物はどこですか。", "東京都、大阪府、北海道、京都府、奈良県"),
        ("Где мой iPhone?", RUSSIAN),
    ],
)
def test_the_same_language_is_not(question: str, answer: str) -> None:
    assert foreign_share(question, answer) == 0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("我的包裹在哪里？", "42"),
        ("写一个循环", "```python\nfor word in words: print(word)\n```"),
        ("写一个循环", "import os\nfor i in range(10):\n    print(i)"),
        ("距离是多少？", "384400 km"),
        ("推荐三部电影", "Titanic, The Matrix, Inception"),
        ("Who wrote it?", "It is 村上春樹."),
        ("Who wrote it?", "“La vida es sueño”: Calderón de la Barca"),
        ("Who wrote it?", "《红楼梦》和《西游记》"),
        ("Wo steht es?", "https://example.com/the/page/of/this/and/that"),
        ("Was will er?", "Er will, dass du ihm das Buch gibst, und das ist auch nicht zu viel verlangt."),
        ("Hvor er min pakke?", "Den er på vej og kommer i morgen, men det kan også blive en dag senere for dig."),
        ("What is in order 2730?", "Order 2730 contains a pink violin. Feel free to ask again, anyone!"),
        ("Can you spell animal?", "Hey, easy one! Word: animal. Letters: a-n-i-m-a-l, anything else?"),
        ("42?", CHINESE),
        ("", CHINESE),
        ("Where is it?", ""),
    ],
)
def test_code_numbers_names_and_short_answers_are_in_no_language(question: str, answer: str) -> None:
    assert foreign_share(question, answer) == 0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Summarise: 王小明昨天在北京的图书馆里丢了一把雨伞，他非常难过。", ENGLISH),
        ("Summarise: 王小明昨天在北京的图书馆里丢了一把雨伞，他非常难过。", CHINESE),
        ("请总结: He lost an umbrella in the library in Beijing and was very sad.", CHINESE),
        ("Summarise: Das ist ein Text, der von einem Mann und einer Frau ist.", ENGLISH),
        ("What does 春眠不觉晓，处处闻啼鸟 mean to you?", ENGLISH),
    ],
)
def test_a_question_in_two_languages_may_be_answered_in_both(question: str, answer: str) -> None:
    assert foreign_share(question, answer) == 0


def test_a_mixed_answer_is_foreign_in_part() -> None:
    assert 0.3 < foreign_share("Where is my parcel?", f"The parcel left on monday. {CHINESE[:10]}") < 0.7


@pytest.mark.parametrize(
    "text",
    [
        "Translate to Chinese: the sun is warm",
        "In English please: 太阳",
        "翻译成英文：太阳",
        "太阳用英文怎么说？",
        "Wie heißt das auf Englisch?",
        "Переведи: the sun",
        "日本語で書いてください",
        "How do you say this in Czech?",
    ],
)
def test_a_language_or_a_translation_that_is_asked_for_is_noticed(text: str) -> None:
    assert asks_for_another(text)


def test_a_usual_question_asks_for_no_other_language() -> None:
    assert not any(map(asks_for_another, ["Where is my parcel?", "我的包裹在哪里？", "Wo ist es?", ENGLISH, CHINESE]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ENGLISH, "english"),
        (GERMAN, "german"),
        (SPANISH, "spanish"),
        (RUSSIAN, "russian"),
        ("Ne var ne yok, bu akşam için bir planın var mı?", "turkish"),
        ("Monday", None),
        ("the the the", None),
    ],
)
def test_a_language_is_known_by_its_commonest_words(text: str, expected: str | None) -> None:
    assert language(prose(text)) == expected


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_two_texts_have_a_share(question: str, answer: str) -> None:
    assert 0 <= foreign_share(question, answer) <= 1


@settings(deadline=None)
@given(st.sampled_from(["abcdEF 12.", "абвгДЕ -", "这的是東京のですカ。", "가나다라 ", "αβγΔ "]).flatmap(st.text))
def test_what_was_asked_is_never_foreign_to_itself(text: str) -> None:
    assert foreign_share(text, text) == 0


@pytest.mark.parametrize("piece", ["太", "a(", "a = ", '"', "x@", "`", "a.", "www.", "$$ ", "~~~", "; "])
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    begun = time.process_time()
    prose(piece * (20_000 // len(piece)))
    assert time.process_time() - begun < 1  # a square of the length would take several
