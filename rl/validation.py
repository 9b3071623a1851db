"""What a program can check of a policy while it trains: skills, pairs that people rated, and how far it has gone.

None of it is the reward that is trained on, which only ever rises.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lm.adapters import Adapter
from lm.engine import Engine
from lm.evaluation import accuracy_by_skill, answers_to
from lm.likelihood import Completed, batches, log_likelihood, mean_kl
from lm.loading import Base
from lm.prompts import fit_chat
from lm.settings import EngineSettings, Sampling
from lm.suites import Item
from lm.templates import manner
from rl.policy import make_policy, put_adapter
from rl.settings import PPOSettings, StoppingSettings
from store.frozen import Messages, Pair
from store.holdout import opening

POLICY = "policy"  # the engine's name of what is checked
ROWS = 16  # sequences a forward pass

Judge = Callable[[Sequence[Messages], Sequence[str]], Tensor]


@dataclass(frozen=True)
class Standing:
    """How a policy stands.

    Attributes:
        skills: greedy accuracy by skill.
        questions: by skill.
        rated: mean log sigmoid of beta * (log-ratio of the better answer - log-ratio of the other) over held-out pairs,
            log-ratios between policy and parent: the log-likelihood of what people said under the policy's implicit
            preference [arXiv 2305.18290, equation 7]. The parent's own is -log 2; NaN without pairs.
        agreed: share of those pairs whose better answer gained more.
        kl: nats an answer from the parent; NaN without prompts.
        win_rate: share of its answers that the reward model prefers to the parent's, ties half; NaN where none judges.
            For the curves alone: it is what training pushes up.
        by_pair: what `rated` is the mean of, in the same order at each check.
    """

    skills: dict[str, float]
    questions: dict[str, int]
    rated: float
    agreed: float
    kl: float
    win_rate: float = math.nan
    by_pair: tuple[float, ...] = ()

    def doubtless_below(self, other: Standing) -> bool:
        """Whether the held-out ratings speak against this standing beside another: by more than one standard error of
        the mean of the differences, pair by pair."""
        if len(self.by_pair) < 2:
            return self.rated < other.rated
        differences = torch.tensor(other.by_pair, dtype=torch.float64) - torch.tensor(self.by_pair, dtype=torch.float64)
        return bool(differences.mean() > differences.std() / math.sqrt(len(differences)))

    def figures(self) -> dict[str, float]:
        """The known figures by the names that they have in logs."""
        skills = {f"stopping/skill/{name}": accuracy for name, accuracy in self.skills.items()}
        others = {f"stopping/{name}": getattr(self, name) for name in ("rated", "agreed", "kl", "win_rate")}
        return skills | {name: figure for name, figure in others.items() if not math.isnan(figure)}


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
        pairs: held-out pairs; those with a better answer are looked at, `settings.pairs` at most.
        prompts: held-out prompts, asked in turn until there are `settings.answers` answers.
        ppo: lengths of prompts and answers, temperature, and rank of the policy.
        settings: how many of each.
        seed: of the answers.
        judge: rewards [N] of N answers to N prompts, for the win rate; None for no win rate.
    """

    def __init__(
        self,
        base: Base,
        parent: Adapter | None,
        questions: Sequence[Item],
        pairs: Sequence[Pair],
        prompts: Sequence[Messages],
        ppo: PPOSettings,
        settings: StoppingSettings,
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        self.base, self.parent, self.questions, self.ppo, self.seed = base, parent, questions, ppo, seed
        self.beta, self.judge = settings.beta, judge
        self._context = min(base.context, ppo.prompt_tokens + ppo.max_tokens)
        self._limit = self._context - ppo.max_tokens
        asked = settings.answers if prompts else 0
        self.prompts = [prompts[i % len(prompts)] for i in range(asked)]
        self._asked = [fit_chat(base, messages, self._limit) for messages in self.prompts]
        decided = [pair for pair in pairs if pair.outcome == 1.0]
        decided.sort(key=lambda pair: _hash(str((pair.conversation, pair.first, pair.second))))
        self.pairs = decided[: settings.pairs]
        self._rated = [self._completed(p.messages, text) for p in self.pairs for text in (p.first, p.second)]
        self._engine = Engine(base, EngineSettings(slots=32, context=self._context, prefix_cache=0))

    def standing(self, adapter: Adapter) -> Standing:
        """Measure a policy; its rank, alpha and modules must be those that a policy from this parent has."""
        put_adapter(self._policy, adapter)
        self._engine.install(POLICY, adapter)
        by_pair, agreed = self._preference()
        rated = sum(by_pair) / len(by_pair) if by_pair else math.nan
        kl, win_rate = self._answers()
        known = dict(Counter(item.skill for item in self.questions))
        return Standing(self._accuracy(), known, rated, agreed, kl, win_rate, by_pair)

    @cached_property
    def start(self) -> Standing:
        """The parent's own standing, from which the others are told."""
        self._engine.install(POLICY, self.parent)
        known = dict(Counter(item.skill for item in self.questions))
        return Standing(self._accuracy(), known, -math.log(2) if self.pairs else math.nan, math.nan, 0.0)

    @cached_property
    def _policy(self) -> Any:
        return make_policy(self.base, self.parent, self.ppo, self.seed)

    @cached_property
    def _reference(self) -> Any:
        return make_policy(self.base, self.parent, self.ppo, self.seed)

    @cached_property
    def _reference_likelihoods(self) -> Tensor:
        return self._likelihoods(self._reference)

    @cached_property
    def _parents_rewards(self) -> Tensor:
        assert self.judge is not None
        self._engine.install("parent", self.parent)
        return self.judge(self.prompts, [text for text, _ in self._sampled("parent")])

    def _accuracy(self) -> dict[str, float]:
        if not self.questions:
            return {}
        greedy = Sampling(temperature=0.0, max_tokens=self.ppo.max_tokens)
        return accuracy_by_skill(self.questions, answers_to(self._engine, POLICY, self.questions, greedy))

    def _preference(self) -> tuple[tuple[float, ...], float]:
        if not self.pairs:
            return (), math.nan
        ratios = (self._likelihoods(self._policy) - self._reference_likelihoods).view(-1, 2)
        margins = ratios[:, 0] - ratios[:, 1]
        return tuple(logsigmoid(self.beta * margins).tolist()), float((margins > 0).float().mean())

    def _answers(self) -> tuple[float, float]:
        if not self.prompts:
            return math.nan, math.nan
        said = self._sampled(POLICY)
        answers = [(ids + tokens, len(ids)) for ids, (_, tokens) in zip(self._asked, said, strict=True)]
        kl = mean_kl(self._policy, self._reference, answers, self.base.tokenizer.pad_token_id, ROWS)
        if self.judge is None:
            return kl, math.nan
        margins = self.judge(self.prompts, [text for text, _ in said]) - self._parents_rewards
        return kl, float((margins.sign() + 1).mean() / 2)

    def _sampled(self, version: str) -> list[tuple[str, list[int]]]:
        """Text and tokens of an answer to each prompt."""
        ppo = self.ppo
        samplings = [
            Sampling(temperature=ppo.temperature, max_tokens=ppo.max_tokens, seed=self.seed + i)
            for i in range(len(self._asked))
        ]
        return [(done.text, done.token_ids) for done in self._engine.generate(self._asked, samplings, version)]

    def _completed(self, messages: Messages, text: str) -> Completed:
        """Prompt and a given answer with the token that ends it, cut where an answer in training is."""
        prompt = fit_chat(self.base, messages, self._limit)
        tokenizer = self.base.tokenizer
        end = manner(tokenizer).end
        answer = [
            *tokenizer(text, add_special_tokens=False)["input_ids"],
            tokenizer.eos_token_id if end is None else end,
        ]
        return prompt + answer[: self.ppo.max_tokens], len(prompt)

    @torch.inference_mode()
    def _likelihoods(self, model: Any) -> Tensor:
        found = torch.zeros(len(self._rated))
        for batch in batches(self._rated, self.base.tokenizer.pad_token_id, ROWS, self.base.device):
            found[batch.rows] = log_likelihood(model, batch).cpu()
        return found
