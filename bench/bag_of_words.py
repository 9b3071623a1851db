"""The least that a reward model has to beat: a logistic regression on which words an answer has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from store.frozen import Pair

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)  # of the ridge, tried on inner folds
FOLDS = 5
LEAST = 2  # answers of the training half that a word has to stand in
WORD = re.compile(r"\w+|[^\w\s]")


def words_margins(train: Sequence[Pair], groups: Sequence[int], test: Sequence[Pair]) -> tuple[Tensor, float]:
    """[N] by how much the first answer of each pair of `test` is better, and the ridge that inner folds chose.

    Args:
        train: pairs whose first answer is the better one.
        groups: of each of them; what shares one is left out together.
        test: pairs to judge.
    """
    words = _vocabulary(train)
    seen, asked = _differences(train, words), _differences(test, words)
    place = torch.tensor(groups)
    order = torch.randperm(int(place.max()) + 1, generator=torch.Generator().manual_seed(0)) % FOLDS
    fold = order[place]
    losses = torch.zeros(len(STRENGTHS), dtype=torch.float64)
    for number in range(FOLDS):
        left_out = fold == number
        for at, strength in enumerate(STRENGTHS):
            losses[at] += softplus(-_fitted(seen[~left_out], seen[left_out], strength)).sum()
    strength = STRENGTHS[int(losses.argmin())]
    return _fitted(seen, asked, strength).float(), strength


def _vocabulary(pairs: Sequence[Pair]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for pair in pairs:
        for text in (pair.first, pair.second):
            counts.update(set(WORD.findall(text.lower())))
    return {word: place for place, word in enumerate(sorted(word for word, n in counts.items() if n >= LEAST))}


def _differences(pairs: Sequence[Pair], words: dict[str, int]) -> Tensor:
    """[N, W] log(1 + count) of each word in the first answer, minus the same of the second."""
    found = torch.zeros(len(pairs), len(words), dtype=torch.float64)
    for row, pair in enumerate(pairs):
        for sign, text in ((1, pair.first), (-1, pair.second)):
            for word, count in Counter(WORD.findall(text.lower())).items():
                if word in words:
                    found[row, words[word]] += sign * torch.tensor(1.0 + count).log()
    return found


def _fitted(seen: Tensor, asked: Tensor, strength: float) -> Tensor:
    """Margins of `asked` by weights fitted to `seen`, whose every row should come out positive.

    The best weights are a sum of the rows seen, so they are looked for in the space that those span.
    """
    left, sizes, right = torch.linalg.svd(seen, full_matrices=False)
    weights = torch.zeros(len(sizes), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = softplus(-(left * sizes) @ weights).sum() + strength / 2 * (weights**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return asked @ right.T @ weights.detach()
