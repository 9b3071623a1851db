# ruff: noqa: SIM905 - word lists read better as text
"""Education: arithmetic, comparing, units, spelling, capitals, opposites and short explanations.

What follows from a rule is held out by its numbers or letters: sums and differences by their pair of operands, metric
units by the number to convert, spelling by the word. What has to be remembered (the times table, the units of time and
the dozen, capitals, opposites, explanations) is all taught, and held out by the wording of the question; of a product
that is asked in the test, training shows the other order only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from lm.starter import worlds
from lm.starter.question import LEADS, Question, ask, typed
from lm.starter.worlds import Split

# fmt: off
CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin", "Portugal": "Lisbon",
    "Austria": "Vienna", "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Ireland": "Dublin", "Greece": "Athens", "Hungary": "Budapest", "Belgium": "Brussels",
    "Switzerland": "Bern", "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Ghana": "Accra",
    "Japan": "Tokyo", "China": "Beijing", "South Korea": "Seoul", "India": "New Delhi", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Australia": "Canberra", "Canada": "Ottawa", "Mexico": "Mexico City", "Peru": "Lima",
    "Brazil": "Brasilia", "Chile": "Santiago", "Cuba": "Havana", "Colombia": "Bogota", "Ukraine": "Kyiv",
    "England": "London", "Croatia": "Zagreb", "Romania": "Bucharest", "Bulgaria": "Sofia", "Iceland": "Reykjavik",
}
OPPOSITES = (
    "hot cold", "big small", "old new", "fast slow", "high low", "early late", "rich poor", "light dark", "wet dry",
    "open closed", "full empty", "happy sad", "long short", "strong weak", "clean dirty", "loud quiet", "left right",
    "up down", "good bad", "easy difficult", "cheap expensive", "soft hard", "near far", "thick thin", "day night",
)
# larger unit, smaller unit, how many of the smaller make one of the larger
METRIC = (
    ("metre", "centimetres", 100), ("kilometre", "metres", 1000), ("kilogram", "grams", 1000),
    ("litre", "millilitres", 1000), ("centimetre", "millimetres", 10), ("gram", "milligrams", 1000),
    ("tonne", "kilograms", 1000), ("euro", "cents", 100),
)
REMEMBERED = (
    ("minute", "seconds", 60), ("hour", "minutes", 60), ("day", "hours", 24), ("week", "days", 7),
    ("year", "months", 12), ("dozen", "pieces", 12),
)
EXPLANATIONS = {
    "rain": "water that falls from clouds", "ice": "frozen water", "steam": "water in the form of a hot gas",
    "fog": "a cloud that lies on the ground", "wind": "moving air", "a volcano": "a mountain that throws out hot rock",
    "a planet": "a large ball that moves around a star", "a star": "a huge ball of hot gas that shines",
    "the moon": "the ball of rock that moves around the earth", "an island": "land with water all around it",
    "a desert": "a very dry place where little can grow", "a river": "water that flows to the sea",
    "a lake": "standing water with land around it", "a map": "a drawing of a place from above",
    "a century": "a time of one hundred years", "a decade": "a time of ten years",
    "a triangle": "a shape with three sides", "a square": "a shape with four equal sides",
    "a circle": "a round shape", "an even number": "a number that can be shared by two",
    "an odd number": "a number that cannot be shared by two", "a sum": "what you get when you add numbers",
    "a noun": "a word for a thing, a place or a person", "a verb": "a word for what somebody does",
    "an adjective": "a word that says how a thing is", "a vowel": "one of the letters a, e, i, o and u",
    "a synonym": "a word that means the same as another", "a mammal": "an animal that feeds its young with milk",
    "an insect": "a small animal with six legs", "a seed": "the part of a plant from which a new one grows",
    "a root": "the part of a plant that drinks from the soil", "the heart": "the part of the body that pumps the blood",
    "a bone": "a hard part inside the body", "a thermometer": "a tool that shows how warm it is",
    "a compass": "a tool that shows where north is", "a telescope": "a tool to see things that are far away",
    "a magnet": "a thing that pulls iron", "a doctor": "a person who helps sick people",
    "a baker": "a person who makes bread", "a library": "a place where you can borrow books",
}
WORDS = tuple(sorted({
    *worlds.GOODS, *worlds.COLOURS,
    *"garden window school teacher student summer winter spring autumn river mountain island forest bridge market "
    "bakery kitchen library museum station airport hospital theatre cinema village country people family mother "
    "father brother sister friend doctor lawyer farmer driver singer dancer painter writer baker pilot sailor "
    "soldier animal horse rabbit tiger lion zebra monkey elephant giraffe penguin dolphin turtle spider "
    "butterfly banana orange lemon cherry grape melon tomato potato carrot onion pepper cheese butter bread "
    "sugar coffee water juice dinner lunch breakfast morning evening night today tomorrow yesterday always never "
    "often language letter number question answer picture music science history physics biology chemistry planet "
    "rocket engine machine computer internet science weather thunder lightning rainbow cloud storm ocean desert "
    "valley castle palace temple church square street corner holiday birthday present ticket journey travel "
    "passport luggage money price market customer service order".split(),
}))

SPELLING = ("how do you spell {word}?", "spell {word}.", "spell the word {word}.", "what are the letters of {word}?",
            "can you spell {word}?")
CAPITAL = ("what is the capital of {land}?", "which city is the capital of {land}?", "tell me the capital of {land}.",
           "the capital of {land}?", "name the capital of {land}.")
OPPOSITE = ("what is the opposite of {word}?", "tell me the opposite of {word}.",
            "which word is the opposite of {word}?", "the opposite of {word}?")
EXPLAIN = ("what is {word}?", "explain {word}.", "can you explain {word}?", "what does {word} mean?",
           "please explain what {word} is.", "explain {word} in one sentence.")
UNIT = ("how many {small} are in {count} {large}?", "how many {small} are {count} {large}?",
        "{count} {large} in {small}?", "tell me {count} {large} in {small}.")
SUMS = {
    "+": ("what is {a} + {b}?", "{a} + {b} = ?", "what is {a} plus {b}?", "calculate {a} + {b}.", "{a} + {b}"),
    "-": ("what is {a} - {b}?", "{a} - {b} = ?", "what is {a} minus {b}?", "calculate {a} - {b}.", "{a} - {b}"),
    "x": ("what is {a} x {b}?", "{a} x {b} = ?", "what is {a} times {b}?", "calculate {a} x {b}.", "{a} * {b}"),
}
LARGER = ("which is larger, {a} or {b}?", "which number is larger, {a} or {b}?", "is {a} or {b} the larger number?")
# fmt: on


_AND = ("And", "", "Ok, and", "Next:", "Now", "Thanks! And", "Good. And", "One more:", "Then", "Right,")
_TABLE = 12  # the times table goes to 12 x 12


def question(rng: random.Random, split: Split) -> Question:
    """A school question and more of its kind to follow, as pupils practise.

    Training shows arithmetic and spelling more often than the test does, for they are the hardest to learn.
    """
    kinds = (_arithmetic, _larger, _spelling, _unit, _capital, _opposite, _explanation)
    weights = (9, 1, 3, 2, 1.5, 1, 1.5) if split == "train" else (3, 1, 2, 2, 1.5, 1, 1.5)
    kind = rng.choices(kinds, weights)[0]
    made: Question | None = None
    for place in reversed(range(rng.choice((1, 2, 2, 3, 5)))):
        made = replace(kind(rng, split, place > 0), follow_up=made)
    assert made is not None
    return made


def _arithmetic(rng: random.Random, split: Split, again: bool) -> Question:
    sign = rng.choice("++--x")
    a, b = _factors(rng, split) if sign == "x" else _operands(rng, split, sign)
    result = {"+": a + b, "-": a - b, "x": a * b}[sign]
    return Question(
        "education",
        _asked(rng, split, again, SUMS[sign], sign, a=a, b=b),
        f"{result}",
        (f"{a} {sign} {b} = {result}.", f"The answer is {result}."),
        (str(result),),
        "numeric",
        points=(("Question", f"{a} {sign} {b}"), ("Answer", str(result))),
    )


def _operands(rng: random.Random, split: Split, sign: str) -> tuple[int, int]:
    """Two numbers up to 9, 20 or 99; for a difference the larger stands first."""

    def pair() -> tuple[int, int]:
        top = rng.choice((9, 20, 99))
        a, b = rng.randint(1, top), rng.randint(1, top)
        return (max(a, b), min(a, b)) if sign == "-" else (a, b)

    return worlds.draw(split, pair, sign)


def _factors(rng: random.Random, split: Split) -> tuple[int, int]:
    """Two numbers of the times table. The test half has a fifth of its pairs with the smaller number first."""
    while True:
        a, b = rng.randint(1, _TABLE), rng.randint(1, _TABLE)
        if (a < b and worlds.held_out("x", a, b)) == (split == "test"):
            return a, b


def _larger(rng: random.Random, split: Split, again: bool) -> Question:
    a, b = worlds.draw(split, lambda: tuple(rng.sample(range(1, 100), 2)), "larger")
    high, low = max(a, b), min(a, b)
    return Question(
        "education",
        _asked(rng, split, again, LARGER, "larger", a=a, b=b),
        f"{high}",
        (f"The larger number is {high}.", f"The answer is {high}."),
        (str(high),),
        "numeric",
        points=(("Smaller", str(low)), ("Larger", str(high))),
    )


def _spelling(rng: random.Random, split: Split, again: bool) -> Question:
    """Half of the words are invented, so that every piece of a word is met."""
    invented = rng.random() < 0.5
    word = worlds.draw(split, lambda: worlds.invented(rng) if invented else rng.choice(WORDS), "word")
    spelled = "-".join(word)
    return Question(
        "education",
        _asked(rng, split, again, SPELLING, "spelling", word=word),
        f"{spelled}",
        (f"You spell it {spelled}.", f"The letters are {spelled}."),
        (spelled,),
        "contains",
        points=(("Word", word), ("Letters", spelled)),
    )


def _unit(rng: random.Random, split: Split, again: bool) -> Question:
    if rng.random() < 0.5:
        large, small, factor = rng.choice(METRIC)
        count, wording = worlds.number(rng, split, 1, 100, large), "unit"
    else:
        large, small, factor = rng.choice(REMEMBERED)
        count = rng.randint(1, 12)
        wording = f"{large} {count}"
    larges = large if count == 1 or large == "dozen" else large + "s"
    result = count * factor
    return Question(
        "education",
        _asked(rng, split, again, UNIT, wording, small=small, large=larges, count=count),
        f"{result} {small}.",
        (f"{count} {larges} = {result} {small}.", f"That makes {result} {small}."),
        (f"{result} {small}",),
        "contains",
        points=((larges.capitalize(), str(count)), (small.capitalize(), f"{result} {small}")),
    )


def _capital(rng: random.Random, split: Split, again: bool) -> Question:
    land, city = rng.choice(sorted(CAPITALS.items()))
    return Question(
        "education",
        _asked(rng, split, again, CAPITAL, land, land=land),
        f"{city}.",
        (f"The capital of {land} is {city}.", f"It is {city}."),
        (city,),
        "contains",
        points=(("Country", land), ("Capital", city)),
    )


def _opposite(rng: random.Random, split: Split, again: bool) -> Question:
    pair = rng.choice(OPPOSITES).split()
    rng.shuffle(pair)
    word, other = pair
    return Question(
        "education",
        _asked(rng, split, again, OPPOSITE, word, word=word),
        f"{other}.",
        (f"The opposite of {word} is {other}.", f"It is {other}."),
        (other,),
        "contains",
        points=(("Word", word), ("Opposite", other)),
    )


def _explanation(rng: random.Random, split: Split, again: bool) -> Question:
    word, meaning = rng.choice(sorted(EXPLANATIONS.items()))
    return Question(
        "education",
        _asked(rng, split, again, EXPLAIN, f"explain {word}", word=word),
        f"{meaning[0].upper()}{meaning[1:]}.",
        (f"{word[0].upper()}{word[1:]} is {meaning}.", f"It is {meaning}."),
        (meaning,),
        "contains",
        points=(("Word", word), ("Meaning", meaning)),
    )


def _asked(
    rng: random.Random, split: Split, again: bool, forms: Sequence[str], kind: str, **places: object
) -> tuple[dict[str, str], ...]:
    """The user turn: a lead-in and one of the forms, with its places filled."""
    form = worlds.wording(rng, split, _AND if again else LEADS, forms, f"{kind} and" if again else kind)
    return ask(typed(rng, form.format(**places)))
