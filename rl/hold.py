"""How a training is held near the serving version: one callback, the same for every trainer.

After gradient clipping, so that what holds is never scaled down by the reward's gradient, two things are added to the
gradients: the anchor's bounded pull, and the gradient of the exact KL from the parent on replayed old answers.
"""

from __future__ import annotations

import random
from typing import Any, get_args

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback

from problems import Problem
from rl.anchor import Anchor, Memory, Space, adapter_parameters
from rl.pull import Pull
from rl.replay import ParentKL, Replay
from rl.settings import AnchorSettings


def check_anchor_settings(settings: AnchorSettings) -> None:
    """Raise Problem (status 2) naming the field, where a setting is out of bounds."""
    bounds: dict[str, tuple[bool, str]] = {
        "strength": (settings.strength >= 0, "0 or more"),
        "replay": (settings.replay >= 0, "0 or more"),
        "samples": (settings.samples >= 1, "1 or more"),
        "batch": (settings.batch >= 1, "1 or more"),
        "replay_batch": (settings.replay_batch >= 1, "1 or more"),
        "decay": (0 <= settings.decay <= 1, "between 0 and 1"),
        "share": (0 < settings.share <= 1, "above 0 (the parent) and up to 1 (all that was trained)"),
        "space": (settings.space in get_args(Space), " or ".join(get_args(Space))),
        "memory": (settings.memory in get_args(Memory), " or ".join(get_args(Memory))),
    }
    for name, (fits, wanted) in bounds.items():
        if not fits:
            raise Problem(f"anchor.{name} is {getattr(settings, name)}.", hint=f"Make it {wanted}.", status=2)


class Hold(TrainerCallback):
    """Adds the anchor's pull and the replay's gradient before each optimizer step.

    A step in which no matrix of the adapter has a gradient (the critic alone is trained) is left as it is. Which old
    answers are replayed depends on seed and step alone, so a training that resumes replays what it would have. Several
    processes share a step's answers and sum their gradients, so each takes the same step.

    Args:
        anchor: Fisher information and centre, or None.
        replay: old prompts with the parent's answers, or None.
        settings: strengths, and how many answers are replayed a step.
        learning_rate: of the optimizer; bounds the pull.
        pad_id: token that fills up shorter sequences.
        seed: of the choice of replayed answers.
    """

    def __init__(
        self,
        anchor: Anchor | None,
        replay: Replay | None,
        settings: AnchorSettings,
        learning_rate: float,
        pad_id: int,
        seed: int,
    ) -> None:
        self.anchor = anchor if settings.strength else None
        self.replay = replay if settings.replay else None
        self.settings, self.learning_rate, self.pad_id, self.seed = settings, learning_rate, pad_id, seed
        self._pull: Pull | None = None
        self._kl: ParentKL | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **things: Any) -> None:
        """Refuse sharded parameters; compute what stays the same between steps."""
        model: PeftModel = things["model"]
        if self.anchor or self.replay:
            refuse_shards(model)
        self._parameters = adapter_parameters(model)
        if self.anchor:
            self._pull = Pull(self.anchor, model, self.settings.strength, self.learning_rate)
        if self.replay:
            self._kl = ParentKL(model, self.replay, self.pad_id, self.settings.batch)

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **things: Any) -> None:
        """Add both to the gradients."""
        gradients = [parameter.grad for parameter in self._parameters.values() if parameter.grad is not None]
        if not gradients or not torch.stack(torch._foreach_norm(gradients)).any():
            return
        if self._pull:
            self._pull()
        if self._kl:
            self._add_replay(self._kl, state.global_step, args.process_index, args.world_size)

    def _add_replay(self, kl: ParentKL, step: int, process: int, processes: int) -> None:
        parameters = self._parameters
        answers = range(len(kl.replay.sequences))
        chosen = random.Random(f"{self.seed} {step}").sample(answers, min(self.settings.replay_batch, len(answers)))
        mine = chosen[process::processes]
        found = kl.gradient(mine)[1] if mine else {}
        flat = torch.cat([found.get(name, torch.zeros_like(p)).flatten() for name, p in parameters.items()])
        if processes > 1:
            torch.distributed.all_reduce(flat)
        flat *= self.settings.replay / len(chosen)
        parts: list[Tensor] = list(flat.split([p.numel() for p in parameters.values()]))
        for parameter, part in zip(parameters.values(), parts, strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(part.view_as(parameter))


def refuse_shards(model: nn.Module) -> None:
    """Raise Problem if any of the model's parameters is spread over processes: nothing here could hold it whole."""
    for name, parameter in model.named_parameters():
        kinds = {kind.__name__ for kind in type(parameter).__mro__}
        if kinds & {"DTensor", "FlatParameter"} or getattr(parameter, "_is_flat_param", False):
            scheme = "FSDP"
        elif hasattr(parameter, "ds_id"):
            scheme = "DeepSpeed ZeRO-3"
        else:
            continue
        raise Problem(
            f"{scheme} spreads {name} over processes, and the anchor and replay need an adapter's matrices whole.",
            hint="Train with data parallelism (DDP), or set anchor.strength and anchor.replay to 0.",
            status=2,
        )
