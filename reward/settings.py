"""Knobs of the reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from problems import Problem
from reward.rule_settings import Rule, read_rules

LengthUse = Literal["cost", "drop", "keep"]


@dataclass(frozen=True)
class RewardSettings:
    """How ratings become a reward."""

    regime: Literal["auto", "heads", "lora"] = "auto"  # heads on the frozen trunk, or a LoRA trunk; auto: by the data
    heads: int = 5  # members of the ensemble, each on its own bootstrap of the ratings
    combine: Literal["pessimistic", "mean", "minimum"] = "pessimistic"  # how the heads become one reward
    # What length alone counts for: what it costs beside the best rated length; nothing; all that was learned.
    length: LengthUse = "cost"
    weigh_raters: bool = True  # whether ratings count by how reliable their person proved
    holdout_share: float = 0.15  # of the conversations, never trained on
    holdout_people: float = 0.05  # of the people after the first twenty, never trained on
    person_share: float = 0.3  # of the training rows, at most, from one person, where there are enough people
    # Of the held-out rows of a kind, at most, from one person, where there are enough people. Somebody who says the
    # opposite of the others moves an accuracy of 75 % among them by half of their share: a fifth takes 10 points.
    holdout_person_share: float = 0.2
    # Of the ratings, at most, from all people together whom nothing speaks for yet: one program can be many people.
    # With a fifth of the ratings they do not turn round what the others say (bench/sybils.py).
    newcomer_share: float = 0.2
    scrub: bool = True  # put placeholders in place of e-mail addresses, phone numbers, cards and keys before learning
    context: int = 1024  # tokens of prompt and answer that the trunk reads; the oldest turns go first
    pessimism: float = 0.5  # deviations of the heads that are taken off the mean [arXiv 2310.02743]
    clip: float = 5.0  # bound of the normalised reward, in standard deviations
    seed: int = 0  # of the bootstraps and of the initial weights
    lora_from: int = 2000  # ratings from which regime auto tunes a trunk, where there is a GPU [arXiv 2312.09244]
    lora_rank: int = 16  # of the adapter that tunes the trunk
    lora_alpha: float = 32.0  # the adapter's change is scaled by alpha / rank
    lora_learning_rate: float = 5e-4  # of AdamW, for the adapter and the score's weight
    lora_own_rate: float = 1e-2  # the same for the few numbers of the likelihoods and of the length head
    lora_weight_decay: float = 0.01  # of AdamW, on the adapter and the score's weight
    lora_epochs: int = 3  # passes over the ratings
    lora_batch_size: int = 16  # ratings a step
    lora_warmup: float = 0.1  # share of the steps in which the rate rises; then it falls in a straight line to zero
    lora_max_grad_norm: float = 1.0  # longer gradients are cut to this length
    lora_length_penalty: float = 1.0  # weight of the squared correlation of reward and length [arXiv 2402.07319]
    lora_recompute: bool = False  # compute activations again in the backward pass: less memory, a third more time
    rules: Annotated[tuple[Rule, ...], BeforeValidator(read_rules)] = ()  # beside the heads, [[reward.rules]] each

    def __post_init__(self) -> None:
        for name in ("newcomer_share", "holdout_person_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise Problem(f"reward.{name} is {getattr(self, name)}.", hint="Give a share from 0 to 1.")
        object.__setattr__(self, "rules", read_rules(self.rules))  # those of a kept model come as plain tables


def dataset_knobs(settings: RewardSettings) -> dict[str, Any]:
    """The knobs of the frozen dataset, by the names that `store.datasets.freeze` gives them."""
    names = ("holdout_share", "holdout_people", "person_share", "newcomer_share", "holdout_person_share", "scrub")
    return {name: getattr(settings, name) for name in names}
