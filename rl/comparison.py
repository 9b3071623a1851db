"""Measure a candidate beside its parent: the same prompts, the same questions, one engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch

from lm.adapters import Adapter
from lm.engine import Engine
from lm.evaluation import accuracy_by_skill, answers_to
from lm.likelihood import mean_kl
from lm.loading import Base
from lm.offline import offline_settings
from lm.prompts import Message, encode_chat
from lm.settings import Sampling
from lm.stream import Completion
from lm.suites import Item
from reward.model import RewardModel
from rl.encoded_prompts import distinct
from rl.gate import Comparison
from rl.policy import make_policy
from rl.settings import GateSettings, PPOSettings

PARENT, CANDIDATE = "parent", "candidate"
TIE = 1e-6  # rewards closer than this are equal


def compare(
    base: Base,
    parent: Adapter | None,
    candidate: Adapter,
    reward: RewardModel,
    prompts: Sequence[Sequence[Message]],
    questions: Sequence[Item],
    ppo: PPOSettings,
    settings: GateSettings,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Sample answers of both to held-out prompts, score them, and put the suite's questions to both.

    Args:
        reward: its `Scores.value`, heads and rules together, decides: what PPO was paid by.
        prompts: conversations that were never trained on; the first `settings.win_prompts` that differ are asked once.
        questions: items of the suite that must not be forgotten.
        progress: called with what is being measured, how much is done and of how much.
    """
    asked, ids = distinct(base, ppo, prompts, settings.win_prompts)
    longest = max(map(len, [*ids, *(encode_chat(base, item.messages) for item in questions)]))
    most = max(len(ids), len(questions))
    with Engine(base, offline_settings(base, longest + ppo.max_tokens, most)) as engine:
        engine.install(PARENT, parent)
        engine.install(CANDIDATE, candidate)
        samplings = [
            Sampling(temperature=settings.temperature, max_tokens=ppo.max_tokens, seed=seed + i)
            for i in range(len(ids))
        ]
        answers = {}
        for name in (PARENT, CANDIDATE):
            answers[name] = engine.generate(
                ids, samplings, name, progress=_labelled(progress, f"{name} answers", len(ids))
            )
        accuracy = {}
        for name in (PARENT, CANDIDATE):
            greedy = Sampling(temperature=0.0, max_tokens=min(ppo.max_tokens, settings.skill_tokens))
            said = answers_to(
                engine, name, questions, greedy, progress=_labelled(progress, f"{name} skills", len(questions))
            )
            accuracy[name] = accuracy_by_skill(questions, said)
    scores = {
        name: reward.score(asked, [completion.text for completion in done]).value for name, done in answers.items()
    }
    margin = scores[CANDIDATE] - scores[PARENT]
    completed = [
        (prompt + completion.token_ids, len(prompt)) for prompt, completion in zip(ids, answers[CANDIDATE], strict=True)
    ]
    return Comparison(
        prompts=len(ids),
        wins=int((margin > TIE).sum()),
        losses=int((margin < -TIE).sum()),
        ties=int((margin.abs() <= TIE).sum()),
        parent_length=_mean_length(answers[PARENT]),
        candidate_length=_mean_length(answers[CANDIDATE]),
        empty=sum(not completion.text.strip() for completion in answers[CANDIDATE]) / len(ids),
        kl=mean_kl(
            make_policy(base, candidate, ppo, seed),
            make_policy(base, parent, ppo, seed),
            completed,
            base.tokenizer.pad_token_id,
        ),
        before=accuracy[PARENT],
        after=accuracy[CANDIDATE],
        questions=dict(Counter(item.skill for item in questions)),
    )


def _mean_length(completions: Sequence[Completion]) -> float:
    return float(torch.tensor([len(completion.token_ids) for completion in completions], dtype=torch.float).mean())


def _labelled(progress: Callable[[str, int, int], None] | None, label: str, total: int) -> Callable[[int], None] | None:
    return (lambda done: progress(label, done, total)) if progress else None
