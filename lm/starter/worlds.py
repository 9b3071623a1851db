# ruff: noqa: SIM905 - word lists read better as text
"""The small world that the starter's dialogues talk about, cut into two halves that never meet.

Every draw says which half it belongs to: a stable hash of the drawn thing sends a fifth of all names, places, numbers
and combinations to the test half and the rest to training. A test prompt is therefore made of names and combinations
that no training dialogue contains.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

Split = Literal["train", "test"]
Drawn = TypeVar("Drawn")

FIRST_NAMES = (
    "Ana Maria Lena Nora Mila Sofia Emma Olga Irene Julia Clara Rosa Elena Vera Alice Laura Hanna Greta Ines Paula "
    "Marta Tara Maya Leila Amina Zoe Ruth Judith Petra Carla Ivan Peter Omar Lukas Tomas Hugo Felix Anton Pavel Marco "
    "Diego Luis Pedro Samuel David Daniel Jonas Oscar Victor Martin Simon Adam Noah Leo Karim Yusuf Hassan Ravi Arjun "
    "Kofi Ben Max Eric Nils Lars Sven Finn Otto Emil Henri Louis Jean Bruno Dario Paolo Mario Sergio Boris Igor Andrei"
).split()
LAST_NAMES = (
    "Lopez Garcia Silva Costa Rossi Ferrari Weber Keller Fischer Novak Horvat Kowal Ivanov Petrov Larsen Hansen Berg "
    "Lind Dahl Olsen Dubois Moreau Laurent Brown Taylor Walker Young Baker Cooper Turner Parker Khan Ali Singh "
    "Patel Mensah Okoro Diallo Tanaka Sato Mori Kim Park Chen Wang Li Zhang Nguyen Tran Santos Ramos Vega Molina"
).split()
CITIES = (
    "Lisbon Madrid Rome Milan Paris Lyon Berlin Hamburg Munich Vienna Graz Prague Warsaw Oslo Bergen Dublin London "
    "Leeds Athens Zagreb Geneva Zurich Basel Bern Brussels Ghent Porto Seville Turin Naples Bologna "
    "Helsinki Tampere Riga Tallinn Vilnius Cairo Tunis Rabat Dakar Accra Nairobi Lima Quito Bogota Toronto Boston "
    "Denver Austin Seattle Chicago Osaka Kyoto Seoul Delhi Mumbai Hanoi Sydney Perth"
).split()
COLOURS = "red blue green black white yellow grey brown pink golden purple silver".split()
GOODS = (
    "lamp chair table sofa desk shelf mirror carpet pillow blanket kettle toaster blender teapot mug plate bowl spoon "
    "knife pan clock radio camera phone tablet keyboard mouse printer speaker headset backpack suitcase wallet belt "
    "jacket coat shirt sweater dress skirt scarf hat cap umbrella watch ring "
    "necklace bicycle helmet skateboard tent guitar violin drum piano notebook pencil brush vase candle basket"
).split()
CARRIERS = "Nordpost Swiftbox Parcelo Roadrunner Bluebird Quickship Globex Cargo24 Postino Velomail".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
PLANS = "basic plus premium family student business".split()
# Parts of invented words. Wide on purpose: a model writes a piece of a name that it never had to write before only if
# pieces of every kind were asked of it, so real names of the test half are copied as well as these train it to copy.
_ONSETS = "b c d f g h j k l m n p r s t v w y z br ch cl cr dr fl fr gl gr kl kr pl pr sh sl sp st th tr".split()
_VOWELS = "a a a e e e i i i o o o u u ai au ea ee ei ia ie io oo ou".split()
_CODAS = ["", "", "", "", *"b ck d ff g k l ll m n n n nd ng p r r rd rk rt s s ss st t tt th tz x y".split()]


def held_out(*parts: object) -> bool:
    """Whether a thing or a combination belongs to the test half: a fifth of all, the same on every machine."""
    return zlib.crc32("|".join(map(str, parts)).encode()) % 5 == 0


def draw(split: Split, make: Callable[[], Drawn], *key: object) -> Drawn:
    """Draw with `make` until the result, keyed by `key`, falls in the wanted half.

    Raises:
        RuntimeError: 10,000 draws fell in the other half, so this half is empty.
    """
    for _ in range(10_000):
        drawn = make()
        if held_out(*key, drawn) == (split == "test"):
            return drawn
    raise RuntimeError(f"no member of the {split} half was drawn for {key}")


def invented(rng: random.Random) -> str:
    """An invented word of one to three syllables, in lower case: so many that only copying gets them right."""
    while True:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, 3)))
        word = word[1:] if rng.random() < 0.15 else word  # some begin with a vowel
        if 3 <= len(word) <= 10:
            return word


def first_name(rng: random.Random, split: Split) -> str:
    return _proper(rng, split, FIRST_NAMES, 0.4, "first")


def full_name(rng: random.Random, split: Split) -> str:
    return f"{first_name(rng, split)} {_proper(rng, split, LAST_NAMES, 0.5, 'last')}"


def city(rng: random.Random, split: Split) -> str:
    return _proper(rng, split, CITIES, 0.5, "city")


def _proper(rng: random.Random, split: Split, real: Sequence[str], share: float, kind: str) -> str:
    """A real name of the list with that probability, else an invented one; no name is on two lists."""
    if rng.random() < share:
        return draw(split, lambda: rng.choice(real), kind)
    return draw(split, lambda: invented(rng).capitalize(), "invented")


def goods(rng: random.Random, split: Split) -> str:
    """A coloured thing, such as "blue lamp"; the combination is what is held out."""
    return draw(split, lambda: f"{rng.choice(COLOURS)} {rng.choice(GOODS)}", "goods")


def number(rng: random.Random, split: Split, low: int, high: int, kind: str) -> int:
    """An integer from low to high, both included."""
    return draw(split, lambda: rng.randint(low, high), kind)


def wording(
    rng: random.Random, split: Split, leads: Sequence[str], bodies: Sequence[str], kind: str, joint: str = " "
) -> str:
    """A way to ask: a lead-in and a body with open places. The combination is what is held out."""
    lead, body = draw(split, lambda: (rng.choice(leads), rng.choice(bodies)), kind)
    return f"{lead}{joint}{body}".strip()
