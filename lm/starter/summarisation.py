# ruff: noqa: SIM905 - word lists read better as text
"""Summarisation: one sentence that keeps the event of a short paragraph and drops its details.

The paragraph tells the event with a detail more than the summary has, or spreads it over two sentences, among sentences
that do not matter. Names, places and things of the test half never appear in training, nor do its ways to ask.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from lm.starter import worlds
from lm.starter.question import LEADS, Question, ask, typed
from lm.starter.worlds import Split


@dataclass(frozen=True)
class Event:
    """A summary and the ways in which a paragraph tells the same event, each with open places."""

    topic: str
    summary: str
    told: tuple[str, ...]


EVENTS = (
    Event(
        "Opening",
        "{name} opened a {shop} in {city}.",
        (
            "{name} opened a {shop} in {city} on {day} after {years} years of work.",
            "After {years} years of saving, {name} opened a {shop} in {city}.",
            "{name} had a dream for {years} years. On {day} it came true: a {shop} opened in {city}.",
        ),
    ),
    Event(
        "Move",
        "{name} moved from {city} to {other}.",
        (
            "{name} lived in {city} for {years} years and then moved to {other}.",
            "On {day} {name} left {city} and moved to {other} with two bags.",
            "{name} found a new job. So the old flat in {city} was sold, and the new home is in {other}.",
        ),
    ),
    Event(
        "Loss",
        "{name} lost a {thing} in {city}.",
        (
            "{name} came home from {city} on {day} without the {thing}.",
            "While walking through {city}, {name} lost a {thing}.",
            "{name} was in {city} for {years} days. There the {thing} was lost.",
        ),
    ),
    Event(
        "Trip",
        "The trip of {name} to {city} was cancelled because of {cause}.",
        (
            "{name} planned a trip to {city} for {day}. Because of {cause} it was cancelled.",
            "Because of {cause}, {name} had to cancel a trip to {city} on {day}.",
            "{name} wanted to see {city}. Then came the news of {cause}, and the trip was cancelled.",
        ),
    ),
    Event(
        "Prize",
        "{name} won a prize for a {work}.",
        (
            "On {day} {name} won a prize in {city} for a {work}.",
            "{name} worked on a {work} for {years} years. It has now won a prize.",
            "The jury in {city} read the names. The prize went to {name} for a {work}.",
        ),
    ),
    Event(
        "Purchase",
        "{name} bought a {thing} for {price} euros.",
        (
            "{name} went to the market in {city} and bought a {thing} for {price} euros.",
            "After a long search {name} bought a {thing}. It cost {price} euros.",
            "On {day} {name} saw a {thing} in a window, paid {price} euros and took it home.",
        ),
    ),
    Event(
        "Closure",
        "The {building} in {city} is closed until {day}.",
        (
            "The {building} in {city} has a broken roof and stays closed until {day}.",
            "Workers are painting the {building} in {city}. It is closed until {day}.",
            "Until {day} nobody can enter the {building} in {city}, said {name}.",
        ),
    ),
    Event(
        "Lessons",
        "{name} teaches {subject} in {city}.",
        (
            "{name} studied for {years} years and now teaches {subject} in {city}.",
            "In {city} everybody knows {name}, who teaches {subject} on {day}.",
            "{name} works at a school in {city}. The lessons are about {subject}.",
        ),
    ),
)
SHOPS = "bakery café bookshop restaurant school garden cinema hotel library workshop".split()
WORKS = "poem song film novel painting bridge photo robot garden cake".split()
BUILDINGS = "museum station library bridge market theatre school park hospital pool".split()
SUBJECTS = "music history chess drawing physics cooking dancing Chinese biology swimming".split()
CAUSES = ("rain", "snow", "a storm", "a strike", "an illness", "fog", "a fire", "a flood")
# fmt: off
ASIDES = (
    "It was a sunny day.", "The weather was cold.", "Many people came.", "The neighbours were happy.",
    "A dog was sleeping near the door.", "The streets were quiet.", "Nobody was surprised.",
    "There was music in the air.",
    "The coffee was still warm.", "A newspaper wrote about it.", "The trees were green.",
    "Some children were playing outside.",
    "The phone did not stop ringing.", "It had rained all night.", "Friends sent flowers.", "The family was proud.",
    "A train passed by.", "The evening was long.", "The clock showed noon.", "The windows were open.",
)
REQUESTS = (
    "summarise in one sentence: {text}", "summarize in one sentence: {text}", "summarise: {text}",
    "give me a short summary: {text}", "what is this text about? {text}", "{text} Summarise this in one sentence.",
    "{text} What happened, in one sentence?", "please summarise this text: {text}",
    "in short, what does it say? {text}",
)
WHO = ("who is it about?", "who was it?", "whose story is it?", "what is the name?")
WHERE = ("which city is it about?", "which city is it?", "what is the city?")
# fmt: on
_AND = ("And", "", "Thanks! And", "Ok,", "One more:")


def question(rng: random.Random, split: Split) -> Question:
    """A paragraph of two to four sentences to summarise, and a question about who or where."""
    event = rng.choice(EVENTS)
    values = {
        "name": worlds.full_name(rng, split) if rng.random() < 0.5 else worlds.first_name(rng, split),
        "city": worlds.city(rng, split),
        "other": worlds.city(rng, split),
        "day": rng.choice(worlds.DAYS),
        "years": rng.choice("two three four five six seven eight nine ten".split()),
        "shop": rng.choice(SHOPS),
        "thing": worlds.goods(rng, split),
        "cause": rng.choice(CAUSES),
        "work": rng.choice(WORKS),
        "price": str(worlds.number(rng, split, 5, 199, "price")),
        "building": rng.choice(BUILDINGS),
        "subject": rng.choice(SUBJECTS),
    }
    summary = event.summary.format(**values)
    asides = rng.sample(ASIDES, rng.randint(1, 3))
    asides.insert(rng.randint(0, len(asides)), rng.choice(event.told).format(**values))
    request = worlds.wording(rng, split, LEADS, REQUESTS, "summarisation").format(text=" ".join(asides))
    return Question(
        "summarisation",
        ask(request[0].upper() + request[1:]),
        summary,
        (f"In short: {summary}", f"Summary: {summary}", f"The text says: {summary}"),
        (summary,),
        "rouge",
        points=(("Topic", event.topic), ("Summary", summary)),
        follow_up=_follow_up(rng, event, values),
    )


def _follow_up(rng: random.Random, event: Event, values: dict[str, str]) -> Question | None:
    kinds = [kind for kind in ("name", "city") if "{" + kind + "}" in event.summary and "{other}" not in event.summary]
    if not kinds:
        return None
    kind = rng.choice(kinds)
    asked = f"{rng.choice(_AND)} {rng.choice(WHO if kind == 'name' else WHERE)}".strip()
    value = values[kind]
    said = (
        (f"It is about {value}.", f"The name is {value}.")
        if kind == "name"
        else (f"The city is {value}.", f"It is {value}.")
    )
    return Question(
        "summarisation",
        ask(typed(rng, asked)),
        f"{value}.",
        said,
        (value,),
        "contains",
        points=(("Topic", event.topic), ("Name" if kind == "name" else "City", value)),
    )
