"""Customer service: questions about orders, refunds, shipping and accounts, answered from the facts in the prompt."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lm.starter import worlds
from lm.starter.question import LEADS, Question, ask, typed
from lm.starter.worlds import Split


@dataclass(frozen=True)
class Fact:
    """One thing that the shop knows: how it is written down, asked for and said."""

    label: str
    written: tuple[str, ...]
    asked: tuple[str, ...]
    said: tuple[str, ...]


# fmt: off
ORDER_FACTS = {
    "item": Fact("Item", ("item {item}", "contains a {item}"),
                 ("what is in order {order}?", "which item did I buy in order {order}?",
                  "what did I order in {order}?"),
                 ("Order {order} contains a {item}.", "You ordered a {item}.")),
    "price": Fact("Price", ("price {price} euros", "costs {price} euros"),
                  ("how much is order {order}?", "what is the price of order {order}?", "what did order {order} cost?"),
                  ("Order {order} costs {price} euros.", "The price is {price} euros.")),
    "shipped": Fact("Shipped", ("shipped on {shipped}", "sent on {shipped}"),
                    ("when was order {order} shipped?", "on which day was order {order} sent?",
                     "which day did order {order} ship?"),
                    ("Order {order} was shipped on {shipped}.", "It was sent on {shipped}.")),
    "carrier": Fact("Carrier", ("carrier {carrier}", "sent with {carrier}"),
                    ("who delivers order {order}?", "which carrier has order {order}?",
                     "what is the carrier of order {order}?"),
                    ("{carrier} delivers order {order}.", "The carrier is {carrier}.")),
    "arrives": Fact("Arrives", ("arrives on {arrives}", "delivery on {arrives}"),
                    ("when does order {order} arrive?", "when will I get order {order}?",
                     "on which day does order {order} arrive?", "when is the delivery of order {order}?"),
                    ("Order {order} arrives on {arrives}.", "You will get it on {arrives}.")),
    "city": Fact("City", ("goes to {city}", "address in {city}"),
                 ("where does order {order} go?", "to which city does order {order} go?",
                  "what is the city of order {order}?"),
                 ("Order {order} goes to {city}.", "It goes to {city}.")),
    "refund": Fact("Refund", ("refund within {refund} days", "can be returned for {refund} days"),
                   ("how long can I return order {order}?", "how many days do I have to return order {order}?",
                    "until when can I get a refund for order {order}?"),
                   ("You can return order {order} within {refund} days.",
                    "A refund is possible within {refund} days.")),
}
ACCOUNT_FACTS = {
    "holder": Fact("Name", ("name {holder}", "holder {holder}"),
                   ("whose account is it?", "which name is on the account?", "who is the holder of the account?"),
                   ("The account is in the name of {holder}.", "The holder is {holder}.")),
    "plan": Fact("Plan", ("plan {plan}", "has the {plan} plan"),
                 ("which plan do I have?", "what is my plan?", "which plan is on the account?"),
                 ("You have the {plan} plan.", "Your plan is the {plan} plan.")),
    "renews": Fact("Renews", ("renews in {renews}", "next payment in {renews}"),
                   ("when does my plan renew?", "in which month is the next payment?", "when is the next payment?"),
                   ("Your plan renews in {renews}.", "The next payment is in {renews}.")),
    "points": Fact("Points", ("has {points} points", "bonus {points} points"),
                   ("how many points do I have?", "how many points are on the account?", "what is my bonus?"),
                   ("You have {points} points.", "There are {points} points on your account.")),
}
# fmt: on
UNIT = {"price": " euros", "refund": " days", "points": " points"}
NOT_KNOWN = (
    "I don't know, the order does not say.",
    "I don't know. This is not in my notes.",
    "I don't know, I have no note about it.",
)


def _order(rng: random.Random, split: Split) -> dict[str, str]:
    return {
        "order": str(worlds.number(rng, split, 1000, 9999, "order")),
        "item": worlds.goods(rng, split),
        "price": str(worlds.number(rng, split, 5, 199, "price")),
        "shipped": rng.choice(worlds.DAYS),
        "carrier": rng.choice(worlds.CARRIERS),
        "arrives": rng.choice(worlds.DAYS),
        "city": worlds.city(rng, split),
        "refund": rng.choice(("7", "10", "14", "20", "30", "45", "60", "90")),
    }


def _account(rng: random.Random, split: Split) -> dict[str, str]:
    return {
        "holder": worlds.full_name(rng, split),
        "plan": rng.choice(worlds.PLANS),
        "renews": rng.choice(worlds.MONTHS),
        "points": str(worlds.number(rng, split, 10, 999, "points")),
    }


def _note(rng: random.Random, head: str, facts: dict[str, Fact], values: dict[str, str], shown: list[str]) -> str:
    return f"{head}: " + ", ".join(rng.choice(facts[name].written).format(**values) for name in shown) + "."


def question(rng: random.Random, split: Split) -> Question:
    """A question whose answer is one fact of the prompt; one in ten asks for a fact that is not there."""
    about_order = rng.random() < 0.75
    facts = ORDER_FACTS if about_order else ACCOUNT_FACTS
    values = _order(rng, split) if about_order else _account(rng, split)
    names = list(facts)
    rng.shuffle(names)
    shown = names[: rng.randint(2, 4)]
    known = rng.random() >= 0.1 or len(shown) == len(names)
    wanted = rng.choice(shown) if known else rng.choice(names[len(shown) :])
    notes = [_note(rng, f"Order {values['order']}" if about_order else "Account", facts, values, shown)]
    if about_order and rng.random() < 0.3:
        other = _order(rng, split)
        notes.append(_note(rng, f"Order {other['order']}", facts, other, rng.sample(names, 2) if known else shown[:2]))
        rng.shuffle(notes)
    fact = facts[wanted]
    text = typed(rng, worlds.wording(rng, split, LEADS, fact.asked, "service").format(**values))
    note = " ".join(notes)
    if rng.random() < 0.6:
        messages = ask(text, f"You answer the customers of a shop. {note}")
    else:
        messages = ask(f"{note} {text}" if rng.random() < 0.5 else f"{text} {note}")
    if not known:
        return Question("service", messages, "I don't know.", NOT_KNOWN, ("don't know", "do not know"), "contains")
    value = values[wanted] + UNIT.get(wanted, "")
    head = ("Order", values["order"]) if about_order else ("Account", "yours")
    return Question(
        "service",
        messages,
        value[0].upper() + value[1:] + ".",
        tuple(said.format(**values) for said in fact.said),
        (value,),
        "contains",
        points=(head, (fact.label, value)),
    )
