"""Customer service: questions about orders, refunds, shipping and accounts, answered from the facts in the prompt."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lm.starter import worlds
from lm.starter.question import LEADS, Question, ask, typed
from lm.starter.worlds import Split


@dataclass(frozen=True)
class Fact:
    """One thing that the shop knows: how it is written down, asked for, asked for once the order is known, and said."""

    label: str
    written: tuple[str, ...]
    asked: tuple[str, ...]
    again: tuple[str, ...]
    said: tuple[str, ...]


# fmt: off
ORDER_FACTS = {
    "item": Fact("Item", ("item {item}", "contains a {item}"),
                 ("what is in order {order}?", "which item did I buy in order {order}?",
                  "what did I order in {order}?"),
                 ("what is in it?", "which item is it?"),
                 ("Order {order} contains a {item}.", "You ordered a {item}.")),
    "price": Fact("Price", ("price {price} euros", "costs {price} euros"),
                  ("how much is order {order}?", "what is the price of order {order}?", "what did order {order} cost?"),
                  ("what does it cost?", "how much is it?", "what is the price?"),
                  ("Order {order} costs {price} euros.", "The price is {price} euros.")),
    "payment": Fact("Payment", ("paid by {payment}", "payment by {payment}"),
                    ("how was order {order} paid?", "how did I pay order {order}?",
                     "what is the payment of order {order}?"),
                    ("how was it paid?", "how did I pay?"),
                    ("Order {order} was paid by {payment}.", "You paid by {payment}.")),
    "status": Fact("Status", ("status {status}", "is {status}"),
                   ("what is the status of order {order}?", "how far is order {order}?",
                    "what happens with order {order}?"),
                   ("what is its status?", "how far is it?"),
                   ("Order {order} is {status}.", "The status is {status}.")),
    "shipped": Fact("Shipped", ("shipped on {shipped}", "sent on {shipped}"),
                    ("when was order {order} shipped?", "on which day was order {order} sent?",
                     "which day did order {order} ship?"),
                    ("when was it sent?", "when was it shipped?"),
                    ("Order {order} was shipped on {shipped}.", "It was sent on {shipped}.")),
    "carrier": Fact("Carrier", ("carrier {carrier}", "sent with {carrier}"),
                    ("who delivers order {order}?", "which carrier has order {order}?",
                     "what is the carrier of order {order}?"),
                    ("who delivers it?", "which carrier has it?"),
                    ("{carrier} delivers order {order}.", "The carrier is {carrier}.")),
    "arrives": Fact("Arrives", ("arrives on {arrives}", "delivery on {arrives}"),
                    ("when does order {order} arrive?", "when will I get order {order}?",
                     "on which day does order {order} arrive?", "when is the delivery of order {order}?"),
                    ("when does it arrive?", "when will I get it?"),
                    ("Order {order} arrives on {arrives}.", "You will get it on {arrives}.")),
    "city": Fact("City", ("goes to {city}", "address in {city}"),
                 ("where does order {order} go?", "to which city does order {order} go?",
                  "what is the city of order {order}?"),
                 ("where does it go?", "to which city?"),
                 ("Order {order} goes to {city}.", "It goes to {city}.")),
    "refund": Fact("Refund", ("refund within {refund} days", "can be returned for {refund} days"),
                   ("how long can I return order {order}?", "how many days do I have to return order {order}?",
                    "until when can I get a refund for order {order}?"),
                   ("how long can I return it?", "how long can I get a refund?"),
                   ("You can return order {order} within {refund} days.",
                    "A refund is possible within {refund} days.")),
}
ACCOUNT_FACTS = {
    "holder": Fact("Name", ("name {holder}", "holder {holder}"),
                   ("whose account is it?", "which name is on the account?", "who is the holder of the account?"),
                   ("which name is on it?", "whose is it?"),
                   ("The account is in the name of {holder}.", "The holder is {holder}.")),
    "plan": Fact("Plan", ("plan {plan}", "has the {plan} plan"),
                 ("which plan do I have?", "what is my plan?", "which plan is on the account?"),
                 ("which plan is it?", "and the plan?"),
                 ("You have the {plan} plan.", "Your plan is the {plan} plan.")),
    "renews": Fact("Renews", ("renews in {renews}", "next payment in {renews}"),
                   ("when does my plan renew?", "in which month is the next payment?", "when is the next payment?"),
                   ("when does it renew?", "when do I pay again?"),
                   ("Your plan renews in {renews}.", "The next payment is in {renews}.")),
    "points": Fact("Points", ("has {points} points", "bonus {points} points"),
                   ("how many points do I have?", "how many points are on the account?", "what is my bonus?"),
                   ("how many points?", "and the bonus?"),
                   ("You have {points} points.", "There are {points} points on your account.")),
}
# fmt: on
UNIT = {"price": " euros", "refund": " days", "points": " points"}
PAYMENTS = ("card", "invoice", "bank transfer", "voucher", "cash")
STATUSES = ("packed", "on its way", "delivered", "cancelled", "delayed", "on hold")
NOT_KNOWN = (
    "I don't know, the order does not say.",
    "I don't know. This is not in my notes.",
    "I don't know, I have no note about it.",
)
_AND = ("And", "", "Thanks! And", "Ok, and", "Also,", "One more:")
_OTHER = ("order {order}?", "what about order {order}?", "the same for order {order}?")


@dataclass(frozen=True)
class _Record:
    """One order or account: all its values, and the facts of it that the prompt shows."""

    facts: dict[str, Fact]
    values: dict[str, str]
    shown: list[str]

    @property
    def head(self) -> tuple[str, str]:
        return ("Order", self.values["order"]) if "order" in self.values else ("Account", "yours")

    def note(self, rng: random.Random) -> str:
        head = f"Order {self.values['order']}" if "order" in self.values else "Account"
        told = (rng.choice(self.facts[name].written).format(**self.values) for name in self.shown)
        return f"{head}: {', '.join(told)}."

    def wanted(self, rng: random.Random) -> str:
        """A fact to ask for; one in ten is not among those shown."""
        absent = [name for name in self.facts if name not in self.shown]
        return rng.choice(absent if absent and rng.random() < 0.1 else self.shown)


def _order(rng: random.Random, split: Split) -> _Record:
    values = {
        "order": str(worlds.number(rng, split, 1000, 9999, "order")),
        "item": worlds.goods(rng, split),
        "price": str(worlds.number(rng, split, 5, 199, "price")),
        "payment": rng.choice(PAYMENTS),
        "status": rng.choice(STATUSES),
        "shipped": rng.choice(worlds.DAYS),
        "carrier": rng.choice(worlds.CARRIERS),
        "arrives": rng.choice(worlds.DAYS),
        "city": worlds.city(rng, split),
        "refund": rng.choice(("7", "10", "14", "20", "30", "45", "60", "90")),
    }
    return _Record(ORDER_FACTS, values, rng.sample(list(ORDER_FACTS), rng.randint(2, 4)))


def _account(rng: random.Random, split: Split) -> _Record:
    values = {
        "holder": worlds.full_name(rng, split),
        "plan": rng.choice(worlds.PLANS),
        "renews": rng.choice(worlds.MONTHS),
        "points": str(worlds.number(rng, split, 10, 999, "points")),
    }
    return _Record(ACCOUNT_FACTS, values, rng.sample(list(ACCOUNT_FACTS), rng.randint(2, 4)))


def question(rng: random.Random, split: Split) -> Question:
    """A question whose answer is one fact of the prompt, and a follow-up; one in ten is about a fact that it lacks."""
    record = _order(rng, split) if rng.random() < 0.75 else _account(rng, split)
    records = [record]
    if "order" in record.values and rng.random() < 0.35:
        records.append(_order(rng, split))
        rng.shuffle(records)
    wanted = record.wanted(rng)
    text = worlds.wording(rng, split, LEADS, record.facts[wanted].asked, "service").format(**record.values)
    text = typed(rng, text)
    note = " ".join(each.note(rng) for each in records)
    if rng.random() < 0.6:
        messages = ask(text, f"You answer the customers of a shop. {note}")
    else:
        messages = ask(f"{note} {text}" if rng.random() < 0.5 else f"{text} {note}")
    return _answered(messages, record, wanted, _follow_up(rng, record, records, wanted))


def _follow_up(rng: random.Random, record: _Record, records: list[_Record], asked: str) -> Question:
    """Another fact of the same order or account, or the same fact of the other order."""
    others = [each for each in records if each is not record]
    if others and asked in others[0].shown and rng.random() < 0.6:
        other = others[0]
        form = f"{rng.choice(_AND)} {rng.choice(_OTHER)}".strip()
        return _answered(ask(typed(rng, form.format(**other.values))), other, asked)
    wanted = record.wanted(rng)
    form = f"{rng.choice(_AND)} {rng.choice(record.facts[wanted].again)}".strip()
    return _answered(ask(typed(rng, form)), record, wanted)


def _answered(
    messages: tuple[dict[str, str], ...], record: _Record, wanted: str, follow_up: Question | None = None
) -> Question:
    if wanted not in record.shown:
        references = ("don't know", "do not know")
        return Question("service", messages, "I don't know.", NOT_KNOWN, references, "contains", follow_up=follow_up)
    fact, value = record.facts[wanted], record.values[wanted] + UNIT.get(wanted, "")
    return Question(
        "service",
        messages,
        value[0].upper() + value[1:] + ".",
        tuple(said.format(**record.values) for said in fact.said),
        (value,),
        "contains",
        points=(record.head, (fact.label, value)),
        follow_up=follow_up,
    )
