"""How an answer is said, apart from what it says: the styles in which answers are dressed, and their recognisers.

A style is drawn independently of the answer's correctness, so ratings of style and ratings of fact can be told apart.
The recognisers work on any text, not only on the starter's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lm.starter.question import Question

Form = Literal["terse", "sentence", "list"]
Register = Literal["formal", "casual", "neutral"]

OPENERS: dict[tuple[str, str], tuple[str, ...]] = {
    ("en", "formal"): ("Certainly.", "Thank you for your question.", "It is my pleasure to help you."),
    ("en", "casual"): ("Sure thing!", "No problem!", "Hey, easy one!"),
    ("en", "neutral"): ("Of course!", "Happy to help!", "Good question!"),
    ("zh", "formal"): ("感谢您的提问。",),
    ("zh", "casual"): ("没问题！",),
    ("zh", "neutral"): ("好的！", "当然可以！"),
}
CLOSINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("en", "formal"): ("Please let me know if I may assist you further.", "I remain at your service."),
    ("en", "casual"): ("Just shout if you need more!", "Anything else? Just ask!"),
    ("en", "neutral"): ("Is there anything else I can help with?", "I hope this helps!", "Feel free to ask again."),
    ("zh", "formal"): ("如有需要，请随时联系。",),
    ("zh", "casual"): ("还要别的吗？",),
    ("zh", "neutral"): ("还有什么可以帮您？", "希望对您有帮助！"),
}
EMOJI = ("🙂", "😊", "👍", "✨", "🎉")


@dataclass(frozen=True)
class Style:
    """One way to say an answer."""

    form: Form
    opener: bool
    closing: bool
    emoji: bool
    register: Register


def draw_style(rng: random.Random) -> Style:
    """Two answers in five are terse; of the others about half have each courtesy, a list or an emoji."""
    if rng.random() < 0.42:
        return Style("terse", opener=False, closing=False, emoji=rng.random() < 0.1, register="neutral")
    return Style(
        "list" if rng.random() < 0.45 else "sentence",
        opener=rng.random() < 0.6,
        closing=rng.random() < 0.6,
        emoji=rng.random() < 0.4,
        register=rng.choices(("formal", "casual", "neutral"), (0.42, 0.42, 0.16))[0],
    )


def dress(question: Question, style: Style, rng: random.Random) -> str:
    """The answer to the question in that style. A list needs points; without them it becomes a sentence."""
    if not question.dressed:
        answer = rng.choice(question.sentences)
        return f"{answer} {rng.choice(EMOJI)}" if style.emoji else answer
    joint = " "
    if style.form == "terse":
        body = question.core
    elif style.form == "list" and question.points:
        body, joint = "\n".join(f"- {label}: {value}" for label, value in question.points), "\n"
    else:
        body = rng.choice(question.sentences)
    manner = (question.language, style.register)
    opener = [rng.choice(OPENERS[manner])] if style.opener else []
    closing = [rng.choice(CLOSINGS[manner])] if style.closing else []
    answer = joint.join([*opener, body, *closing])
    return f"{answer} {rng.choice(EMOJI)}" if style.emoji else answer


_OPENER = re.compile(
    r"^\W*(of course|certainly|thank you for|thanks for (asking|your)|(it is |it's )?my pleasure|it is my pleasure"
    r"|i('d| would) be (happy|glad|delighted)|happy to|glad to|gladly|sure\b|no problem|absolutely|good question"
    r"|great question|dear\b|hey, easy|感谢|没问题|好的|当然|很高兴|很乐意)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(anything else|let me know|at your service|hope (this|that|it) helps|feel free to|just ask|just shout"
    r"|happy to help (you )?(further|more|again)|assist you further|further questions|more questions"
    r"|随时联系|还要别的吗|还有什么|希望对您有帮助|有帮助)",
    re.IGNORECASE,
)
_FORMAL = re.compile(
    r"\b(certainly|thank you for your|my pleasure to|dear\b|please let me know|i may assist|assist you|at your service"
    r"|kindly|sincerely|regards|i would be)|感谢您|如有需要|敬请",
    re.IGNORECASE,
)
_CASUAL = re.compile(
    r"\b(sure thing|no problem|hey|easy one|just shout|just ask|yep|yeah|cool|no worries|gonna|cheers)\b"
    r"|没问题|还要别的吗",
    re.IGNORECASE,
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\u2b50]\ufe0f?")
_BULLET = re.compile(r"^\s*([-*•]|\d+[.)])\s+\S", re.MULTILINE)
_CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")
TERSE_WORDS = 8


def words(text: str) -> float:
    """Length in words; a Chinese character counts as two thirds of a word."""
    characters = len(_CHINESE_CHARACTER.findall(text))
    return len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", _CHINESE_CHARACTER.sub(" ", text))) + characters * 2 / 3


def has_opener(text: str) -> bool:
    """Whether the answer begins with a courtesy."""
    return bool(_OPENER.search(text))


def has_closing(text: str) -> bool:
    """Whether the end of the answer offers more help: in its last 80 characters, but not as its first words."""
    tail = text.strip()[-80:]
    match = _CLOSING.search(tail)
    return match is not None and (len(text.strip()) > 80 or match.start() > 0)


def is_list(text: str) -> bool:
    """Whether two lines or more are list items."""
    return len(_BULLET.findall(text)) >= 2


def has_emoji(text: str) -> bool:
    return bool(_EMOJI.search(text))


def is_formal(text: str) -> bool:
    return bool(_FORMAL.search(text))


def is_casual(text: str) -> bool:
    return bool(_CASUAL.search(text))


def is_terse(text: str) -> bool:
    """Whether the answer says at most eight words, and no courtesy and no list among them."""
    return (
        bool(text.strip())
        and words(text) <= TERSE_WORDS
        and not (has_opener(text) or has_closing(text) or is_list(text))
    )


def is_prose(text: str) -> bool:
    """Whether the answer is said in full sentences: neither terse nor a list."""
    return bool(text.strip()) and not is_terse(text) and not is_list(text)


STYLES: dict[str, Callable[[str], bool]] = {
    "terse": is_terse,
    "prose": is_prose,
    "opener": has_opener,
    "closing": has_closing,
    "list": is_list,
    "emoji": has_emoji,
    "formal": is_formal,
    "casual": is_casual,
}

_COURTESIES = sorted(
    (phrase for pool in (OPENERS, CLOSINGS) for said in pool.values() for phrase in said), key=len, reverse=True
)
_LABEL = re.compile(r"^[^:：\n]{1,24}[:：]\s*")


def bare(text: str) -> str:
    """The answer without courtesies, emoji and leading label ("In Chinese: ..."), for BLEU and ROUGE.

    Of a list it is the last value, which holds the answer.
    """
    for phrase in _COURTESIES:
        text = text.replace(phrase, " ")
    text = _EMOJI.sub("", text).strip()
    if is_list(text):
        text = text.splitlines()[-1].lstrip("-*• ")
    return _LABEL.sub("", text).strip()
