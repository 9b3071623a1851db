"""Texts that are nearly the same, so that what is tested on is not trained on under another spelling.

Exact, without sketches: two texts are near duplicates if they name the same numbers and the Jaccard similarity of their
sets of five-character pieces reaches the threshold; a question about another order is another question. Candidates come
from an index of each set's rarest pieces: two sets as similar as t must share one among the first |S| - ceil(t |S|) + 1
pieces of each, in any common order (prefix filtering; Chaudhuri, Ganti and Kaushik 2006, ICDE; Bayardo, Ma and Srikant
2007, WWW).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

PIECE = 5  # characters
READ = 4000  # characters of a text that are compared
_NUMBER = re.compile(r"\d+")


def pieces(text: str) -> frozenset[str]:
    """The five-character pieces of a text's letters and digits, without case, marks and spacing."""
    words = unicodedata.normalize("NFKC", text[:READ]).casefold()
    plain = " ".join("".join(each if each.isalnum() else " " for each in words).split())
    return frozenset(plain[start : start + PIECE] for start in range(max(1, len(plain) - PIECE + 1)))


def near_duplicates(texts: Sequence[str], others: Sequence[str], threshold: float = 0.8) -> set[int]:
    """Places in `texts` of those that are near duplicates of at least one of `others`."""
    sets = {text: pieces(text) for text in {*texts, *others}}
    numbers = {text: tuple(_NUMBER.findall(text[:READ])) for text in sets}
    rarity = Counter(piece for held in sets.values() for piece in held)

    def prefix(held: frozenset[str]) -> list[str]:
        ordered = sorted(held, key=lambda piece: (rarity[piece], piece))
        return ordered[: len(ordered) - math.ceil(threshold * len(ordered)) + 1]

    index: dict[tuple[str, tuple[str, ...]], list[frozenset[str]]] = defaultdict(list)
    for held, named in {(sets[other], numbers[other]) for other in others}:
        for piece in prefix(held):
            index[piece, named].append(held)
    verdicts: dict[str, bool] = {}
    for text in set(texts):
        own, named = sets[text], numbers[text]
        verdicts[text] = any(
            len(own & other) >= threshold * len(own | other)
            for piece in prefix(own)
            for other in index.get((piece, named), ())
        )
    return {place for place, text in enumerate(texts) if verdicts[text]}
