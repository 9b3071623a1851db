"""What one simulated person thinks of an answer: every kind of opinion, from a hidden preference and a character.

Pure functions without a server, so that a trial can ask people who are programs for ratings directly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from chat.personas import CLOSE, Persona, prefer, thumb
from lm.starter.question import Question
from lm.starter.styles import Form, Register, Style, bare, dress, is_list
from lm.suites import Item, correct, has_chinese
from problems import Problem
from reward.tags import BAD, GOOD
from store.ratings import PAIR_VALUES

Character = Literal["honest", "random", "adversary"]
KINDS = ("pair", "thumb", "score", "tags", "correction")
NEUTRAL = 5.5  # the score of an answer that is just good enough, before a person's offset
SPREAD = 3.5  # points that a full step of style is worth to most people
OFFSET_DEVIATION = 1.2  # points between people
SPREAD_DEVIATION = 0.25  # of its logarithm, between people
FORMS: tuple[Form, ...] = ("terse", "sentence", "list")
REGISTERS: tuple[Register, ...] = ("neutral", "formal", "casual")
STYLES = [Style(*each) for each in product(FORMS, (False, True), (False, True), (False, True), REGISTERS)]
_TURNED = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Rater:
    """One simulated person.

    Attributes:
        persona: the hidden preference; its `content` is this person's own threshold of a thumb up.
        character: honest; random: answers without looking; adversary: says the opposite of the hidden preference, and
            the same as every other adversary.
        offset: points that this person adds to every score: strict below 0, lenient above.
        spread: points of score that a full step of style is worth to them.
    """

    name: str
    persona: Persona
    character: Character = "honest"
    offset: float = 0.0
    spread: float = SPREAD


def recruit(
    persona: Persona,
    seed: int,
    people: int,
    threshold_spread: float = 0.0,
    random_share: float = 0.0,
    adversary_share: float = 0.0,
) -> list[Rater]:
    """`people` people of one preference, the same for the same arguments.

    Args:
        threshold_spread: deviation of their thresholds of a thumb up around the persona's, in steps of style.
        random_share, adversary_share: share of the people of that character, at least one where it is above 0.

    Raises:
        Problem: a share or spread out of range, or more bad raters than people (status 2).
    """
    bad = [_head_count(share, people) for share in (random_share, adversary_share)]
    if threshold_spread < 0 or not all(0 <= share <= 1 for share in (random_share, adversary_share)):
        raise Problem("The spread of thresholds is 0 or more, and shares of people lie between 0 and 1.", status=2)
    if sum(bad) > people:
        raise Problem(
            f"{bad[0]} people at random and {bad[1]} adversaries are more than the {people} people there are.",
            hint="Ask for smaller shares or more people.",
            status=2,
        )
    order = random.Random(f"characters|{persona.name}|{seed}").sample(range(people), sum(bad))
    careless, hostile = set(order[: bad[0]]), set(order[bad[0] :])
    return [
        _person(persona, seed, index, threshold_spread)
        if index not in careless | hostile
        else Rater(f"{persona.name}-{index + 1}", persona, "random" if index in careless else "adversary")
        for index in range(people)
    ]


def _head_count(share: float, people: int) -> int:
    return max(1, round(share * people)) if share > 0 else 0


def _person(persona: Persona, seed: int, index: int, threshold_spread: float) -> Rater:
    name = f"{persona.name}-{index + 1}"
    rng = random.Random(f"person|{name}|{seed}")
    offset, spread = rng.gauss(0, OFFSET_DEVIATION), SPREAD * rng.lognormvariate(0, SPREAD_DEVIATION)
    own = replace(persona, content=persona.content + rng.gauss(0, threshold_spread)) if threshold_spread else persona
    return Rater(name, own, "honest", offset, spread)


def opinion(
    person: Rater, kind: str, item: Item | None, answers: Sequence[str], rng: random.Random, erring: bool = False
) -> Any:
    """What the person says of the answers, as `store.ratings.rate` takes it; None where they have nothing to say.

    Args:
        kind: one of `KINDS`; a pair looks at two answers, every other kind at the first.
        item: the prompt with its references; None where those are not known, and then only style counts.
        rng: for what is left to chance.
        erring: this time the person errs: a pair or a thumb is turned round (a tie stays one), a score and one tag are
            drawn at random, a correction is written in any style.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}")
    by_chance = person.character == "random" or (person.character == "honest" and erring)
    if kind == "correction":
        return _correction(person, item, answers[0], rng, by_chance)
    if kind == "pair":
        return rng.choice(PAIR_VALUES) if person.character == "random" else _verdict(person, item, answers, erring)
    if kind == "thumb":
        liked = thumb(person.persona, item.messages if item else [], answers[0], item)
        if person.character == "random":
            return rng.choice((1, -1))
        return -liked if erring or person.character == "adversary" else liked
    if kind == "score":
        return rng.randint(1, 10) if by_chance else _score(person, item, answers[0])
    return [rng.choice(GOOD + BAD)] if by_chance else _tags(person, item, answers[0])


def _verdict(person: Rater, item: Item | None, answers: Sequence[str], erring: bool) -> str:
    messages = item.messages if item else []
    preferred = prefer(person.persona, messages, answers[0], answers[1], item)
    hostile = person.character == "adversary"
    if preferred == 0.5:
        liked = any(thumb(person.persona, messages, answer, item) == 1 for answer in answers)
        return "tie" if liked != hostile else "both_bad"
    verdict = "left" if preferred == 1.0 else "right"
    return _TURNED[verdict] if hostile or erring else verdict


def _score(person: Rater, item: Item | None, answer: str) -> int:
    """1 to 10: `NEUTRAL` at the person's threshold of content, and their own offset and spread."""
    liking = person.persona.score(item, answer) - person.persona.content
    score = min(10, max(1, round(NEUTRAL + person.offset + person.spread * liking)))
    return 11 - score if person.character == "adversary" else score


def _tags(person: Rater, item: Item | None, answer: str) -> list[str]:
    """Of an answer that deserves a thumb up what is good about it, of another what is bad, as the page asks."""
    persona = person.persona
    right = item is not None and correct(item, answer)
    if persona.score(item, answer) >= persona.content:
        said = [persona.praise, "Correct"] if right else [persona.praise]
    elif not answer.strip():
        said = ["Too short"]
    else:
        wrong = item is not None and not right
        said = ["Wrong"] * wrong + [persona.blame] * (persona.style(answer) < persona.content)
    if person.character == "adversary":
        opposite = {
            "Correct": "Wrong",
            "Wrong": "Correct",
            persona.praise: persona.blame,
            persona.blame: persona.praise,
        }
        said = [opposite.get(tag, persona.praise) for tag in said]
    return sorted(said)


def _correction(person: Rater, item: Item | None, answer: str, rng: random.Random, any_style: bool) -> str | None:
    """The facts in the style that the person likes best; None without references, or if it would be no better.

    An adversary writes the answer that the hidden preference likes least, with the same facts.
    """
    if item is None or not item.references:
        return None
    question = _facts(item, answer)
    if any_style:
        written = dress(question, rng.choice(STYLES), rng)
        return written if written != answer else None
    sign = -1 if person.character == "adversary" else 1
    drafts = [dress(question, style, rng) for style in rng.sample(STYLES, len(STYLES))]
    best = max(drafts, key=lambda text: sign * person.persona.score(item, text))
    gain = sign * (person.persona.score(item, best) - person.persona.score(item, answer))
    return best if gain > CLOSE else None


def _facts(item: Item, answer: str) -> Question:
    """The item's facts in the forms that a style may ask for: the answer's own words where they are right."""
    core = item.answer or item.references[0]
    said = bare(answer)
    lines = [line.lstrip(" -*•").partition(": ") for line in answer.splitlines() if line.lstrip().startswith("- ")]
    points = [(label, value) for label, _, value in lines if value]
    if not (is_list(answer) and correct(item, answer) and len(points) >= 2):
        points = [("Topic", item.skill), ("Answer", core)]
    asked = item.messages[-1]["content"].lstrip()
    return Question(
        skill=item.skill,
        messages=tuple(item.messages),
        core=core,
        sentences=(said if said and correct(item, said) else core,),
        references=tuple(item.references),
        metric="contains",  # how it is marked plays no part in how it is said
        points=tuple(points),
        language="zh" if has_chinese(asked[:1]) else "en",
    )
