"""Prompts for measurements: chats of many lengths, no two alike, the same for the same seed."""

from __future__ import annotations

from random import Random

from lm.loading import Base
from lm.prompts import Message, encode_chat

SHORTEST, LONGEST = 30, 120  # tokens, template included
WORDS = (
    *("about", "after", "again", "bread", "bridge", "city", "cold", "cook", "door", "early", "eight", "every"),
    *("evening", "five", "garden", "glass", "green", "hospital", "house", "island", "kitchen", "letter", "little"),
    *("long", "market", "money", "morning", "mountain", "music", "near", "nine", "number", "old", "open", "order"),
    *("paper", "plan", "quiet", "rain", "river", "road", "school", "seven", "ship", "short", "six", "snow", "station"),
    *("stone", "street", "summer", "table", "ten", "ticket", "train", "tree", "umbrella", "village", "walk", "water"),
    *("week", "white", "window", "winter", "word", "year"),
)  # fmt: skip


def questions(base: Base, count: int, seed: int) -> list[list[Message]]:
    """`count` conversations of one message, 30 to 120 tokens each."""
    random = Random(seed)
    found: list[list[Message]] = []
    while len(found) < count:
        wanted = random.randint(SHORTEST, LONGEST)
        words = [f"Note {random.randint(1000, 9999)}:"]  # near the beginning, so that no prefix is shared
        chat: list[Message] = [{"role": "user", "content": words[0]}]
        while len(encode_chat(base, chat)) < wanted:
            words.append(random.choice(WORDS))
            chat = [{"role": "user", "content": " ".join(words)}]
        found.append(chat)
    return found
