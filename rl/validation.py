"""What a program can check of a policy while it trains: skills, what held-out ratings
make of its answers, and how far it has gone.

None of it is the reward that is trained on, which only ever rises.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lm.adapters import Adapter
from lm.engine import Engine
from lm.evaluation import answers_to, right_by_skill
from lm.likelihood import mean_kl
from lm.loading import Base
from lm.offline import offline_settings
from lm.settings import Sampling
from lm.suites import Item
from reward.model import fit_reward
from reward.settings import RewardSettings
from rl.encoded_prompts import distinct
from rl.policy import make_policy, put_adapter
from rl.settings import PPOSettings, StoppingSettings
from store.frozen import Frozen, Messages
from store.holdout import opening

POLICY = "policy"  # the engine's name of what is checked
ROWS = 16  # sequences a forward pass

Judge = Callable[[Sequence[Messages], Sequence[str]], Tensor]


@dataclass(frozen=True)
class Standing:
    """How a policy stands.

    Attributes:
        right: whether each greedy answer is right, by skill, to the same questions in the same order at each check.
        kl: nats an answer from the parent; NaN without prompts.
        by_answer: what the held-out judge gives to each of the policy's answers more than to the parent's answer to the
            same prompt, in the same order at each check; empty where nobody judges.
    """

    right: dict[str, tuple[bool, ...]]
    kl: float
    by_answer: tuple[float, ...] = ()

    @property
    def skills(self) -> dict[str, float]:
        """Accuracy by skill."""
        return {name: sum(right) / len(right) for name, right in self.right.items()}

    @property
    def gain(self) -> float:
        """Mean held-out reward above the parent's; NaN where nobody judges."""
        return sum(self.by_answer) / len(self.by_answer) if self.by_answer else math.nan

    @property
    def win_rate(self) -> float:
        """Share of answers that the held-out judge prefers to the parent's, ties half; NaN where nobody judges."""
        wins = sum((margin > 0) + (margin >= 0) for margin in self.by_answer)
        return wins / 2 / len(self.by_answer) if self.by_answer else math.nan

    def doubtless_below(self, other: Standing) -> bool:
        """Whether the held-out judge speaks against this standing beside another, answer by answer."""
        return doubtless_fall(other.by_answer, self.by_answer)

    def figures(self) -> dict[str, float]:
        """The known figures by the names that they have in logs."""
        skills = {f"stopping/skill/{name}": accuracy for name, accuracy in self.skills.items()}
        others = {f"stopping/{name}": getattr(self, name) for name in ("gain", "win_rate", "kl")}
        return skills | {name: figure for name, figure in others.items() if not math.isnan(figure)}


def doubtless_fall(before: Sequence[float], after: Sequence[float], allowed: float = 0.0) -> bool:
    """Whether the mean fell by more than is allowed and one standard error on top of that.

    Args:
        before, after: figures of the same N answers or questions; the error is that of the mean of their differences.
            Of one alone nothing is beyond doubt.
    """
    fall = torch.tensor(before, dtype=torch.float64) - torch.tensor(after, dtype=torch.float64)
    return len(fall) > 1 and bool(fall.mean() > allowed + fall.std() / math.sqrt(len(fall)))


def held_out_judge(
    base: Base, frozen: Frozen, lent: Collection[str], settings: RewardSettings, least: int
) -> Judge | None:
    """A reward model of its own, fitted to the held-out ratings that the checks may see and to nothing else.

    What the reward in training learned from the mistakes of its ratings, this one did not learn: other ratings have
    theirs in other places. So it falls where that one is fooled. It is heads on the frozen trunk and knows no rules.

    Args:
        frozen: the update's dataset.
        lent: openings of the conversations whose ratings may be used.
        settings: of the update's own reward model.
        least: ratings below which nobody judges.
    """
    rows: dict[str, Any] = {
        kind: [replace(row, split="train") for row in each if row.split == "holdout" and opening(row.messages) in lent]
        for kind, each in frozen.by_kind().items()
        if kind != "prompts"
    }
    seen = Frozen(frozen.hash, prompts=[], **rows)
    if seen.ratings < least:
        return None
    model = fit_reward(base, seen, replace(settings, regime="heads", rules=()))
    return lambda asked, answers: model.score(asked, answers).mean


def watched(prompts: Sequence[Messages], share: float) -> frozenset[str]:
    """Openings of the held-out conversations that are for stopping; the others are the gate's alone.

    By a hash of the opening, so that a conversation's turns stay together and the sides stay what they were in later
    updates. Where that would leave the gate nothing, it has all.
    """
    openings = {opening(messages) for messages in prompts}
    lent = frozenset(words for words in openings if _hash(words) < share)
    return frozenset() if lent == openings else lent


def _hash(words: str) -> float:
    digest = hashlib.sha256(f"stopping {words}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Validation:
    """The checks of one training: the same questions, pairs and prompts each time, measured against the parent.

    Args:
        base: the frozen language model.
        parent: adapter of the serving version, or None for version 0.
        questions: items of the validation split of the suite that must not be forgotten.
        prompts: held-out prompts; the first `settings.answers` that differ are asked, each once.
        ppo: lengths of prompts and answers, temperature, and rank of the policy.
        settings: how many of each, at most.
        seed: of the answers.
        judge: from `held_out_judge`: rewards [N] of N answers to N prompts; None where nobody judges.
    """

    def __init__(
        self,
        base: Base,
        parent: Adapter | None,
        questions: Sequence[Item],
        prompts: Sequence[Messages],
        ppo: PPOSettings,
        settings: StoppingSettings,
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        self.base, self.parent, self.questions, self.ppo, self.seed = base, parent, questions, ppo, seed
        self.judge = judge
        self._skill_tokens = min(ppo.max_tokens, settings.skill_tokens)
        self.prompts, self._asked = distinct(base, ppo, prompts, settings.answers)
        most = max(len(self._asked), len(questions))
        self._engine = Engine(base, offline_settings(base, ppo.prompt_tokens + ppo.max_tokens, most))

    def standing(self, adapter: Adapter) -> Standing:
        """Measure a policy; its rank, alpha and modules must be those that a policy from this parent has."""
        put_adapter(self._policy, adapter)
        self._engine.install(POLICY, adapter)
        said = self._sampled(POLICY)
        return Standing(self._right(), self._kl(said), self._margins(said))

    @cached_property
    def start(self) -> Standing:
        """The parent's own standing, from which the others are told."""
        self._engine.install(POLICY, self.parent)
        return Standing(self._right(), 0.0)

    @cached_property
    def _policy(self) -> Any:
        return make_policy(self.base, self.parent, self.ppo, self.seed)

    @cached_property
    def _reference(self) -> Any:
        return make_policy(self.base, self.parent, self.ppo, self.seed)

    @cached_property
    def _parents_rewards(self) -> Tensor:
        assert self.judge is not None
        self._engine.install("parent", self.parent)
        return self.judge(self.prompts, [text for text, _ in self._sampled("parent")])

    def _right(self) -> dict[str, tuple[bool, ...]]:
        if not self.questions:
            return {}
        greedy = Sampling(temperature=0.0, max_tokens=self._skill_tokens)
        right = right_by_skill(self.questions, answers_to(self._engine, POLICY, self.questions, greedy))
        return {skill: tuple(verdicts) for skill, verdicts in right.items()}

    def _kl(self, said: Sequence[tuple[str, list[int]]]) -> float:
        if not said:
            return math.nan
        answers = [(ids + tokens, len(ids)) for ids, (_, tokens) in zip(self._asked, said, strict=True)]
        return mean_kl(self._policy, self._reference, answers, self.base.tokenizer.pad_token_id, ROWS)

    def _margins(self, said: Sequence[tuple[str, list[int]]]) -> tuple[float, ...]:
        if self.judge is None or not said:
            return ()
        margins = self.judge(self.prompts, [text for text, _ in said]) - self._parents_rewards
        return tuple(margins.tolist())

    def _sampled(self, version: str) -> list[tuple[str, list[int]]]:
        """Text and tokens of an answer to each prompt."""
        ppo = self.ppo
        samplings = [
            Sampling(temperature=ppo.temperature, max_tokens=ppo.max_tokens, seed=self.seed + i)
            for i in range(len(self._asked))
        ]
        return [(done.text, done.token_ids) for done in self._engine.generate(self._asked, samplings, version)]
