"""How much of a dataset may be one person's, and how much that of all new people together (`store.newcomers`).

What an import brought is a file's, not one person's, and is never capped: its surface says so, not whose name it is
under, since a name is what a caller likes to call itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from store.candidates import Candidate, RowOf

# Held-out rows of a kind that nobody loses, however few the others hold: else one guest with one rating would leave
# one row to whoever has rated alone for weeks.
HELD_FLOOR = 10
# Training rows of all others together below which one person's are not cut: whoever has rated alone for weeks would
# lose all but one to a guest with one rating, and so few cannot speak for themselves.
FEW = 10


def capped(
    rows: Sequence[Candidate[RowOf]],
    share: float,
    floor: int = 1,
    among: Collection[str] | None = None,
    few: int = 0,
) -> list[Candidate[RowOf]]:
    """The rows without those of one person beyond their share of all that is kept.

    Args:
        share: of the rows, at most, of one person; an equal share where there are too few people for that.
        floor: rows that everybody keeps.
        among: the people whose rows set the cap (all are held to it); None: everybody. Where none of them has a row,
            there is no cap.
        few: rows of all but the largest giver below which there is no cap.
    """
    counts = Counter(each.person for each in rows if not each.imported)
    setting = [count for person, count in counts.items() if among is None or person in among]
    if not setting or sum(setting) - max(setting) < few:
        return list(rows)
    share = max(share, 1 / len(setting))
    # The largest cap c with c <= share * (sum of everybody's rows, none above c): found from above.
    cap = max(counts.values())
    while cap > floor and cap > share * sum(min(cap, count) for count in setting):
        cap -= 1
    taken: Counter[str] = Counter()
    kept: list[Candidate[RowOf]] = []
    for each in rows:
        if not each.imported:
            taken[each.person] += 1
            if taken[each.person] > cap:
                continue
        kept.append(each)
    return kept


def shared(rows: Mapping[str, Sequence[Any]], new: set[str], share: float) -> tuple[dict[str, list[Any]], int]:
    """The rows of each kind without those of newcomers beyond `share` of all that is kept; and how many those are.

    Each split has its own bound, since what is held out decides what is believed. Of newcomers' rows the first of each
    person come first, then the second: nobody has a second row before everybody has one.
    """
    most = share / (1 - share) if share < 1 else float("inf")
    known = dict.fromkeys(("train", "holdout"), 0)
    theirs: dict[str, list[tuple[int, str, int]]] = {split: [] for split in known}
    turns: dict[tuple[str, str], int] = defaultdict(int)
    for kind, each in rows.items():
        for place, row in enumerate(each):
            if row.person not in new:
                known[row.split] += 1
                continue
            theirs[row.split].append((turns[row.split, row.person], kind, place))
            turns[row.split, row.person] += 1
    dropped = set()
    for split, found in theirs.items():
        room = int(most * known[split]) if most < float("inf") else len(found)
        found.sort(key=lambda each: each[0])
        dropped |= {(kind, place) for _, kind, place in found[room:]}
    kept = {
        kind: [row for place, row in enumerate(each) if (kind, place) not in dropped] for kind, each in rows.items()
    }
    return kept, len(dropped)
