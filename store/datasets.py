"""How a dataset is frozen for an update: present opinions and prompts, chosen, split, scrubbed, capped and ordered.

Same store, same seed: same rows in the same order and the same hash. How scores and tags relate to preferences differs
from person to person, so each kind of evidence stays its own kind (`store.frozen`). Comments are not frozen.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from store.frozen import Frozen, Messages, Pair, Prompt, Score, Split, Tagged, Thumb, hash_of, line
from store.holdout import Sides, nearly_held_out, opening
from store.imported import is_imported
from store.newcomers import newcomers, shared
from store.opinions import Opinion, asked, opinions
from store.scrub import Scrubber

TEXTS = ("first", "second", "answer")  # fields of the rows that hold an answer
OUTCOMES = {"left": 1.0, "right": 1.0, "tie": 0.5, "both_bad": 0.0}

RowOf = TypeVar("RowOf", Pair, Thumb, Score, Tagged, Prompt)


def freeze(
    session: Session,
    *,
    seed: int,
    holdout_share: float = 0.15,
    holdout_people: float = 0.05,
    person_share: float = 1.0,
    newcomer_share: float = 1.0,
    scrub: bool = False,
) -> Frozen:
    """All present opinions of people who consent, on answers that have a text, and every prompt of theirs.

    What is held out stays so for ever, whatever else comes: a conversation by the words that it opened with, and, of
    those who came after the first twenty, a person by their id (with a handful of people, none can be spared). The seed
    decides the order of rows only. Training rows whose opening is nearly one that is held out are left out.

    Opposite thumbs of one person on two answers to one prompt count as thumbs and also as a pair of kind `thumbs`: how
    good each is and which is better are separate evidence. Where that person compared the two as well, the comparison
    counts instead of that pair, whatever its verdict. An empty list of tags says nothing and is no row.

    Args:
        holdout_share: of the openings.
        holdout_people: share of the people after the first twenty.
        person_share: of the training rows of a kind, at most, from one person, or an equal share where there are too
            few people for that; imports, which are files, are not counted.
        newcomer_share: of the rows of evidence of each split, at most, from all people together whom nothing speaks
            for (`store.newcomers`).
        scrub: put placeholders in place of personal data; the split is by the words as they were said.

    `left_out` counts by reason: `straddling`, a row whose opening, conversation and people fall on different sides;
    `nearly held out`, a training row whose opening is nearly one that is held out; `one person's share`, above the cap;
    `new people's share`, above theirs; `different prompts`, a pair of answers to different prompts; `same text`, a pair
    of equal answers, unless neither would do.
    """
    left_out: Counter[str] = Counter()
    sides = Sides(session, holdout_share, holdout_people)

    def side(conversation: str, messages: Messages, person: str) -> Split | None:
        split = sides.of(conversation, messages, person)
        left_out["straddling"] += split is None
        return split

    prompts: dict[str, Prompt] = {}
    for each in asked(session):
        key = line(each.messages)
        if key not in prompts and (split := side(each.conversation, each.messages, each.person)):
            prompts[key] = Prompt(each.messages, each.person, each.conversation, split)

    pairs: list[Pair] = []
    thumbs: list[tuple[Opinion, Split]] = []
    scores: list[Score] = []
    tags: list[Tagged] = []
    compared: set[tuple[str, str, frozenset[str | None]]] = set()
    given = list(opinions(session, ("thumb", "score", "tags", "correction", "pair")))
    for opinion in given:
        if opinion.kind == "tags" and not opinion.value:
            continue
        whose = (opinion.person, opinion.conversation)
        split = side(opinion.conversation, opinion.messages, opinion.person)
        if split is None:
            continue
        if opinion.kind == "thumb":
            thumbs.append((opinion, split))
        elif opinion.kind == "score":
            scores.append(Score(opinion.messages, opinion.text, opinion.value, *whose, split))
        elif opinion.kind == "tags":
            tags.append(Tagged(opinion.messages, opinion.text, sorted(set(opinion.value)), *whose, split))
        elif opinion.kind == "correction":
            pairs.append(Pair(opinion.messages, opinion.value, opinion.text, 1.0, "correction", *whose, split))
        elif opinion.messages != opinion.other_messages or opinion.other_text is None:
            left_out["different prompts"] += 1
        else:
            compared.add((opinion.person, line(opinion.messages), frozenset((opinion.text, opinion.other_text))))
            pairs.append(_judged(opinion, opinion.other_text, split))
    pairs += _opposite(thumbs, compared)
    liked = [
        Thumb(each.messages, each.text, each.value == 1, "thumb", each.person, each.conversation, split)
        for each, split in thumbs
    ]

    near = nearly_held_out([*pairs, *liked, *scores, *tags, *prompts.values()])
    scrubber = Scrubber() if scrub else None

    def clean(rows: Iterable[RowOf]) -> list[RowOf]:
        return _ordered(_scrubbed(_apart(list(rows), near, left_out), scrubber), seed)

    kept = clean(pairs)
    telling = [pair for pair in kept if pair.first != pair.second or pair.outcome == 0.0]
    left_out["same text"] = len(kept) - len(telling)
    evidence: dict[str, Any] = {"pairs": telling, "thumbs": clean(liked), "scores": clean(scores), "tags": clean(tags)}
    evidence = {kind: _capped(each, person_share, left_out) for kind, each in evidence.items()}
    new = newcomers(session, given)
    kept_rows, left_out["new people's share"] = shared(evidence, new, newcomer_share)
    rows: dict[str, Any] = {**kept_rows, "prompts": clean(prompts.values())}
    return Frozen(
        hash_of(rows),
        **rows,
        left_out={why: number for why, number in left_out.items() if number},
        scrubbed=scrubber.total() if scrubber else {},
        people=_people(evidence, kept_rows, new),
    )


def _people(before: Mapping[str, Sequence[Any]], after: Mapping[str, Sequence[Any]], new: set[str]) -> dict[str, int]:
    """How many people the evidence is of, how many of them are new, and the rows of those before and after the cap."""
    given, kept = ([row.person for each in rows.values() for row in each] for rows in (before, after))
    return {
        "people": len(set(given)),
        "new": len(new & set(given)),
        "new_ratings": sum(person in new for person in given),
        "new_learned": sum(person in new for person in kept),
    }


def _judged(opinion: Opinion, other: str, split: Split) -> Pair:
    """What a side by side says of the two answers, the better one first."""
    first, second = (other, opinion.text) if opinion.value == "right" else (opinion.text, other)
    outcome, draw = OUTCOMES[opinion.value], opinion.draw or "uniform"
    return Pair(opinion.messages, first, second, outcome, "pair", opinion.person, opinion.conversation, split, draw)


def _opposite(thumbs: list[tuple[Opinion, Split]], compared: set[tuple[str, str, frozenset[str | None]]]) -> list[Pair]:
    """Pairs of what a person liked over what they did not like, of answers to one prompt that they did not compare."""
    siblings: dict[tuple[str, str], list[tuple[Opinion, Split]]] = defaultdict(list)
    for opinion, split in thumbs:
        siblings[opinion.person, line(opinion.messages)].append((opinion, split))
    pairs: list[Pair] = []
    for whose, group in siblings.items():
        liked = [each for each in group if each[0].value == 1]
        disliked = [opinion for opinion, _ in group if opinion.value == -1]
        for (better, split), worse in product(liked, disliked):
            if (*whose, frozenset((better.text, worse.text))) not in compared:
                pairs.append(
                    Pair(
                        better.messages,
                        better.text,
                        worse.text,
                        1.0,
                        "thumbs",
                        better.person,
                        better.conversation,
                        split,
                    )
                )
    return pairs


def _scrubbed(rows: list[RowOf], scrubber: Scrubber | None) -> list[RowOf]:
    """The rows with placeholders in place of personal data, where there is a scrubber."""
    if scrubber is None:
        return rows

    def clean(row: RowOf) -> RowOf:
        said: dict[str, Any] = {name: scrubber.scrub(getattr(row, name), name) for name in TEXTS if hasattr(row, name)}
        if isinstance(row, Tagged):  # the API takes any words as a tag
            said["tags"] = sorted({scrubber.scrub(tag, "tags") for tag in row.tags})
        return replace(row, messages=scrubber.scrub_turns(row.messages, "messages"), **said)

    return [clean(row) for row in rows]


def _apart(rows: list[RowOf], near: set[str], left_out: Counter[str]) -> list[RowOf]:
    kept = [row for row in rows if row.split == "holdout" or opening(row.messages) not in near]
    left_out["nearly held out"] += len(rows) - len(kept)
    return kept


def _capped(rows: list[RowOf], share: float, left_out: Counter[str]) -> list[RowOf]:
    """The rows without those of one person above their share of the training rows that are kept."""
    by_person = Counter(row.person for row in rows if row.split == "train" and not is_imported(row.person))
    if not by_person:
        return rows
    share = max(share, 1 / len(by_person))
    # The largest cap c with c <= share * (sum of everybody's rows, none above c): found from above.
    cap = max(by_person.values())
    while cap > 1 and cap > share * sum(min(cap, count) for count in by_person.values()):
        cap -= 1
    taken: Counter[str] = Counter()
    kept: list[RowOf] = []
    for row in rows:
        if row.split == "train" and not is_imported(row.person):
            taken[row.person] += 1
            if taken[row.person] > cap:
                left_out["one person's share"] += 1
                continue
        kept.append(row)
    return kept


def _ordered(rows: Iterable[RowOf], seed: int) -> list[RowOf]:
    # Neither ids nor times decide: the order is one of the seed and of what the rows say.
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\n{line(row)}".encode()).digest())
