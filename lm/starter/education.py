# ruff: noqa: SIM905 - word lists read better as text
"""Education: spelling, units, capitals, opposites, comparing and small arithmetic.

Words to spell, numbers to convert and pairs of operands are held out; capitals and opposites are facts to remember, so
for them only the wording of the question is held out.
"""

from __future__ import annotations

import random

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
UNITS = (
    ("metre", "centimetres", 100), ("kilometre", "metres", 1000), ("kilogram", "grams", 1000),
    ("litre", "millilitres", 1000), ("minute", "seconds", 60), ("hour", "minutes", 60), ("day", "hours", 24),
    ("week", "days", 7), ("year", "months", 12), ("centimetre", "millimetres", 10), ("dozen", "pieces", 12),
)
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
"which word is the opposite of {word}?",
            "the opposite of {word}?")
UNIT = ("how many {small} are in {count} {large}?", "how many {small} are {count} {large}?",
        "{count} {large} in {small}?", "tell me {count} {large} in {small}.")
SUMS = {
    "+": ("what is {a} + {b}?", "{a} + {b} = ?", "what is {a} plus {b}?", "calculate {a} + {b}.", "{a} + {b}"),
    "-": ("what is {a} - {b}?", "{a} - {b} = ?", "what is {a} minus {b}?", "calculate {a} - {b}.", "{a} - {b}"),
    "x": ("what is {a} x {b}?", "{a} x {b} = ?", "what is {a} times {b}?", "calculate {a} x {b}.", "{a} * {b}"),
}
LARGER = ("which is larger, {a} or {b}?", "which number is larger, {a} or {b}?", "is {a} or {b} the larger number?")
# fmt: on


def _arithmetic(rng: random.Random, split: Split) -> Question:
    sign = rng.choice("++--x")
    top = 9 if sign == "x" else 20

    def operands() -> tuple[int, int]:
        a, b = rng.randint(1, top), rng.randint(1, top)
        return (max(a, b), min(a, b)) if sign == "-" else (a, b)

    a, b = worlds.draw(split, operands, sign)
    result = {"+": a + b, "-": a - b, "x": a * b}[sign]
    form = rng.choice(SUMS[sign])
    text = f"{rng.choice(LEADS)} {form.format(a=a, b=b)}".strip()
    return Question(
        "education",
        ask(typed(rng, text)),
        f"{result}",
        (f"{a} {sign} {b} = {result}.", f"The answer is {result}."),
        (str(result),),
        "numeric",
        points=(("Question", f"{a} {sign} {b}"), ("Answer", str(result))),
    )


def _larger(rng: random.Random, split: Split) -> Question:
    a, b = worlds.draw(split, lambda: tuple(rng.sample(range(1, 100), 2)), "larger")
    text = f"{rng.choice(LEADS)} {rng.choice(LARGER).format(a=a, b=b)}".strip()
    high, low = max(a, b), min(a, b)
    return Question(
        "education",
        ask(typed(rng, text)),
        f"{high}",
        (f"The larger number is {high}.", f"The answer is {high}."),
        (str(high),),
        "numeric",
        points=(("Smaller", str(low)), ("Larger", str(high))),
    )


def _spelling(rng: random.Random, split: Split) -> Question:
    # Training spells invented words too, so that it meets every piece of a word; the test asks for real ones only.
    invented = split == "train" and rng.random() < 0.6
    word = worlds.draw(split, lambda: worlds.invented(rng) if invented else rng.choice(WORDS), "word")
    spelled = "-".join(word)
    text = f"{rng.choice(LEADS)} {rng.choice(SPELLING).format(word=word)}".strip()
    return Question(
        "education",
        ask(typed(rng, text)),
        f"{spelled}",
        (f"You spell it {spelled}.", f"The letters are {spelled}."),
        (spelled,),
        "contains",
        points=(("Word", word), ("Letters", spelled)),
    )


def _unit(rng: random.Random, split: Split) -> Question:
    large, small, factor = rng.choice(UNITS)
    top = 100 if factor in (10, 100, 1000) else 12
    count = worlds.number(rng, split, 1, top, large)
    larges = large if count == 1 else "dozen" if large == "dozen" else large + "s"
    result = count * factor
    text = f"{rng.choice(LEADS)} {rng.choice(UNIT).format(small=small, large=larges, count=count)}".strip()
    return Question(
        "education",
        ask(typed(rng, text)),
        f"{result} {small}.",
        (f"{count} {larges} = {result} {small}.", f"That makes {result} {small}."),
        (f"{result} {small}",),
        "contains",
        points=((larges.capitalize(), str(count)), (small.capitalize(), f"{result} {small}")),
    )


def _remembered(rng: random.Random, split: Split) -> Question:
    if rng.random() < 0.6:
        land, city = rng.choice(sorted(CAPITALS.items()))
        text = worlds.wording(rng, split, LEADS, CAPITAL, land).format(land=land)
        return Question(
            "education",
            ask(typed(rng, text)),
            f"{city}.",
            (f"The capital of {land} is {city}.", f"It is {city}."),
            (city,),
            "contains",
            points=(("Country", land), ("Capital", city)),
        )
    pair = rng.choice(OPPOSITES).split()
    rng.shuffle(pair)
    word, other = pair
    text = worlds.wording(rng, split, LEADS, OPPOSITE, word).format(word=word)
    return Question(
        "education",
        ask(typed(rng, text)),
        f"{other}.",
        (f"The opposite of {word} is {other}.", f"It is {other}."),
        (other,),
        "contains",
        points=(("Word", word), ("Opposite", other)),
    )


def question(rng: random.Random, split: Split) -> Question:
    """A school question; training shows arithmetic more often than the test does, for it is the hardest to learn."""
    kinds = (_arithmetic, _larger, _spelling, _unit, _remembered)
    weights = (8, 1, 3, 2, 2) if split == "train" else (1, 1, 1, 1, 1)
    return rng.choices(kinds, weights)[0](rng, split)
