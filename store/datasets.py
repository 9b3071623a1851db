"""How a dataset is frozen for an update: present opinions and prompts, chosen, split, scrubbed, capped and ordered.

Same store, same seed: same rows in the same order and the same hash. How scores and tags relate to preferences differs
from person to person, so each kind of evidence stays its own kind (`store.frozen`). Comments are not frozen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from store.candidates import Candidate, evidence_of, ordered, prompts_of
from store.frozen import Frozen, Split, hash_of
from store.holdout import Sides, near
from store.newcomers import newcomers
from store.opinions import opinions
from store.scrub import Scrubber
from store.shares import FEW, HELD_FLOOR, capped, shared

ASKED = "prompts"
Rows = dict[str, list[Candidate[Any]]]


def freeze(
    session: Session,
    *,
    seed: int,
    holdout_share: float = 0.15,
    holdout_people: float = 0.05,
    person_share: float = 1.0,
    newcomer_share: float = 1.0,
    holdout_person_share: float = 1.0,
    scrub: bool = False,
) -> Frozen:
    """All present opinions of people who consent, on answers that have a text, and every prompt of theirs.

    What is held out stays so for ever, whatever else comes: a conversation by the words that it opened with, and, of
    those who came after the first twenty, a person by their id (with a handful of people, none can be spared). The seed
    decides the order of rows only. Training rows whose opening is nearly one that is held out and was rated are left
    out; held-out prompts that nobody rated are, where training has nearly the same opening.

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
        holdout_person_share: of the held-out rows of a kind, at most, from one person; with few people an equal share,
            and never below ten rows. The others are left out for good: the same openings are tested on, and what was
            tested on once must not be trained on when more people make the cap another.
        scrub: put placeholders in place of personal data; the split is by the words as they were said.

    `left_out` counts by reason: `straddling`, a row whose opening, conversation and people fall on different sides;
    `nearly held out`, a training row whose opening is nearly a rated one that is held out; `nearly trained on`, the
    other way round; `one person's share` and `one person's share of the holdout`, above the cap; `new people's share`,
    above theirs; `different prompts`, a pair of answers to different prompts; `same text`, a pair of equal answers,
    unless neither would do.
    """
    left_out: Counter[str] = Counter()
    sides = Sides(session, holdout_share, holdout_people)
    asked_for = prompts_of(session, sides, left_out)
    given = list(opinions(session, ("thumb", "score", "tags", "correction", "pair")))
    found = evidence_of(given, sides, left_out)
    scrubber = Scrubber() if scrub else None
    prompts = ordered(asked_for, scrubber, seed)
    evidence = {kind: ordered(each, scrubber, seed) for kind, each in found.items()}
    told = [each for each in evidence["pairs"] if each.row.first != each.row.second or each.row.outcome == 0.0]
    left_out["same text"] = len(evidence["pairs"]) - len(told)
    evidence["pairs"] = told

    new = newcomers(session, given)
    everything = evidence | {ASKED: prompts}
    held, train = _on("holdout", everything), _on("train", everything)
    # What is tested on comes first, as it will be: what is not kept there drives nothing out of training.
    raters = {each.person for some in evidence.values() for each in some if not each.imported}
    held_capped = {kind: capped(some, holdout_person_share, HELD_FLOOR, among=raters) for kind, some in held.items()}
    held_kept = held_capped | shared(_rated(held_capped), new, newcomer_share)[0]
    tested = _openings(_rated(held_kept))
    apart = _without(train, near(_openings(train), tested))
    train_capped = apart | {kind: capped(some, person_share, few=FEW) for kind, some in _rated(apart).items()}
    train_kept = train_capped | shared(_rated(train_capped), new, newcomer_share)[0]
    # Anybody can ask near copies of others' openings. A question that nobody rated is what gives way.
    held_apart = _without(held_kept, near(_openings(held_kept) - tested, _openings(train_kept)))

    for why, before, after in (
        ("one person's share of the holdout", held, held_capped),
        ("new people's share", held_capped, held_kept),
        ("nearly held out", train, apart),
        ("one person's share", apart, train_capped),
        ("new people's share", train_capped, train_kept),
        ("nearly trained on", held_kept, held_apart),
    ):
        left_out[why] += sum(len(before[kind]) - len(after[kind]) for kind in before)
    rows: dict[str, Any] = {
        kind: [each.row for each in sorted(held_apart[kind] + train_kept[kind], key=lambda each: each.order)]
        for kind in everything
    }
    return Frozen(
        hash_of(rows),
        **rows,
        left_out={why: number for why, number in left_out.items() if number},
        scrubbed=scrubber.total() if scrubber else {},
        people=_people((held_capped, train_capped), (held_kept, train_kept), new),
    )


def _on(split: Split, rows: Rows) -> Rows:
    return {kind: [each for each in some if each.split == split] for kind, some in rows.items()}


def _rated(rows: Rows) -> Rows:
    return {kind: some for kind, some in rows.items() if kind != ASKED}


def _openings(rows: Rows) -> set[str]:
    return {each.opening for some in rows.values() for each in some}


def _without(rows: Rows, openings: set[str]) -> Rows:
    return {kind: [each for each in some if each.opening not in openings] for kind, some in rows.items()}


def _people(before: Iterable[Rows], after: Iterable[Rows], new: set[str]) -> dict[str, int]:
    """How many people the evidence is of, how many of them are new, and the rows of those before and after the cap."""
    given, kept = (
        [each.person for rows in sides for some in _rated(rows).values() for each in some] for sides in (before, after)
    )
    return {
        "people": len(set(given)),
        "new": len(new & set(given)),
        "new_ratings": sum(person in new for person in given),
        "new_learned": sum(person in new for person in kept),
    }
