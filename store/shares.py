"""How much of a dataset may be one person's.

What an import brought is a file's, not one person's, and is never capped: its surface says so, not whose name it is
under, since a name is what a caller likes to call itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

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
