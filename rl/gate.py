"""The gate: a list of checks that a candidate must pass before it may serve, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lm.adapters import Adapter
from lm.evaluation import wilson
from rl.settings import GateSettings
from store.frozen import Frozen


@dataclass(frozen=True)
class Check:
    """One check: its name, what was measured, the bound, the verdict, and a sentence that says why.

    `n`: on how many pairs or prompts it was measured, where it is a share of such.
    """

    name: str
    figure: float
    threshold: float
    passed: bool
    why: str
    n: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What was measured of a candidate beside its parent, on the same prompts.

    Attributes:
        prompts: different held-out prompts, each answered once by both.
        wins, losses, ties: verdicts on these answers by what PPO was paid by, reward model and rules.
        parent_length, candidate_length: mean tokens an answer.
        empty: share of the candidate's answers without a visible character.
        kl: nats an answer between candidate and parent.
        before, after: accuracy of parent and candidate by skill, greedy, on the same questions.
        questions: questions a skill.
    """

    prompts: int
    wins: int
    losses: int
    ties: int
    parent_length: float
    candidate_length: float
    empty: float
    kl: float
    before: dict[str, float]
    after: dict[str, float]
    questions: dict[str, int]


def integrity_checks(parent: Adapter | None, candidate: Adapter, steps: int, out_of_time: bool = False) -> list[Check]:
    """Whether there is anything to judge: training ran, nothing is NaN, and the adapter is not its parent.

    Args:
        parent: adapter of the parent version; None stands for the base (B = 0).
        candidate: adapter that came out of training.
        steps: optimizer steps that training took.
        out_of_time: whether it ended because its time was over.
    """
    broken = sum(int((~torch.isfinite(t)).sum()) for pair in candidate.weights.values() for t in pair)
    moved = _distance(parent, candidate)
    ended = ", and ended there since its time was over (stopping.minutes)" if out_of_time else ""
    return [
        Check("trained", steps, 1, steps >= 1, f"training took {steps} optimizer steps{ended}"),
        Check("adapter_finite", broken, 0, broken == 0, f"{broken} weights of the adapter are NaN or infinite"),
        Check(
            "adapter_changed",
            moved,
            0.0,
            moved > 0,  # false for NaN too
            f"the adapter's product B A moved by {moved:.4g} (Frobenius norm) from its parent's",
        ),
    ]


def _distance(parent: Adapter | None, candidate: Adapter) -> float:
    """Frobenius norm of the change in (alpha / rank) B A over all modules."""
    total = 0.0
    for name, (a, b) in candidate.weights.items():
        change = candidate.alpha / candidate.rank * (b.float() @ a.float())
        if parent and name in parent.weights:
            old_a, old_b = parent.weights[name]
            change = change - parent.alpha / parent.rank * (old_b.float() @ old_a.float())
        total += float((change**2).sum())
    return math.sqrt(total)


def reward_check(holdout: Mapping[str, Any], crossfit: Mapping[str, Any], settings: GateSettings) -> Check:
    """Whether the reward model may judge at all: one that guesses on people it never learned from proves nothing.

    Args:
        holdout: accuracy and n, the pairs that were held out.
        crossfit: the same of the pairs of the training split, each by heads that learned nothing from its person or
            conversation. Few pairs are held out of a small store, and these are as new to the heads that judge them.
    """
    bound = settings.min_reward_accuracy
    pairs = int(holdout["n"] + crossfit["n"])
    right = sum(round(each["accuracy"] * each["n"]) for each in (holdout, crossfit) if each["n"])
    low, _ = wilson(right, pairs)
    accuracy = right / pairs if pairs else math.nan
    return Check(
        "reward_model",
        accuracy,
        bound,
        low > bound,
        f"the reward model is right on {accuracy:.1%} of {pairs} pairs of people it did not learn from "
        f"({holdout['n']} held out, {crossfit['n']} left out in turn; lower 95 % bound {low:.1%}); "
        f"that bound must exceed {bound:.1%}",
        pairs,
    )


def newcomers_check(frozen: Frozen, share: float) -> Check:
    """How much of the ratings came from people whom nothing speaks for: what the dataset's cap left of it.

    It fails where a dataset was frozen without the cap that is set now. Its sentence is what the operator is to read.
    """
    ratings, learned = frozen.ratings, frozen.people.get("new_learned", 0)
    figure = learned / ratings if ratings else 0.0
    said = frozen.of_new_people() or "nobody who rated is new"
    return Check(
        "new_people",
        figure,
        share,
        figure <= share + 1e-9,
        f"{said}; that is {figure:.1%} of {ratings} ratings, and {share:.0%} are allowed (reward.newcomer_share). "
        "A key for each person says who is somebody",
        ratings,
    )


def least_wins(decided: int, bound: float) -> int | None:
    """Of so many verdicts, how many must be won for the lower 95 % bound to exceed `bound`; None where none will do."""
    return next((wins for wins in range(decided + 1) if wilson(wins, decided)[0] > bound), None)


def _needed(decided: int, bound: float) -> str:
    wins = least_wins(decided, bound)
    if wins is None:
        return f"which {decided} verdicts cannot show even if all are won: it takes more rated conversations"
    return f"which takes {wins} of {decided}"


def comparison_checks(measured: Comparison, settings: GateSettings) -> list[Check]:
    """Whether the candidate is better and has forgotten nothing."""
    decided = measured.wins + measured.losses
    low, high = wilson(measured.wins, decided)
    rate = measured.wins / decided if decided else 0.5
    growth = measured.candidate_length / max(measured.parent_length, 1e-9)
    checks = [
        Check(
            "reward_win_rate",
            rate,
            settings.min_win_rate,
            low > settings.min_win_rate,
            f"the reward is higher for {measured.wins} of {decided} answers, each to a held-out prompt of its own "
            f"(95 % interval {low:.2f} to {high:.2f}, {measured.ties} ties); the lower bound must exceed "
            f"{settings.min_win_rate:.2f}, {_needed(decided, settings.min_win_rate)}",
            measured.prompts,
        )
    ]
    for skill, before in measured.before.items():
        change = measured.after[skill] - before
        checks.append(
            Check(
                f"skill:{skill}",
                change,
                -settings.max_skill_drop,
                change >= -settings.max_skill_drop - 1e-9,
                f"accuracy went from {before:.3f} to {measured.after[skill]:.3f} "
                f"on {measured.questions[skill]} questions; a drop of {settings.max_skill_drop:.2f} is allowed",
            )
        )
    checks += [
        Check(
            "length_growth",
            growth,
            settings.max_length,
            growth <= settings.max_length,
            f"answers went from {measured.parent_length:.1f} to {measured.candidate_length:.1f} tokens on average; "
            f"at most {settings.max_length:.1f} times as long is allowed",
        ),
        Check(
            "length_shrinkage",
            growth,
            settings.min_length,
            growth >= settings.min_length,
            f"answers went from {measured.parent_length:.1f} to {measured.candidate_length:.1f} tokens on average; "
            f"at least {settings.min_length:.1f} times as long is asked",
        ),
        Check(
            "empty_answers", measured.empty, 0.02, measured.empty <= 0.02, f"{measured.empty:.1%} of answers are empty"
        ),
        Check(
            "kl",
            measured.kl,
            settings.max_kl,
            measured.kl <= settings.max_kl,
            f"the candidate is {measured.kl:.2f} nats an answer from its parent; {settings.max_kl:.1f} are allowed",
        ),
    ]
    return checks
