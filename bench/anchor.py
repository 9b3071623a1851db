"""What the anchor and replay add to an optimizer step of PPO on the starter: the anchor may cost at most 3 %.

In each step of one training, every kind of hold is timed on the step's own gradients, which are put back between them;
the share is of the same step's time without any. The first step of a rollout, which answers the prompts, is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # both as `ratchet` sets them
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from machine import keep, machine
from questions import questions
from transformers import PrinterCallback, TrainerCallback
from variants import random_adapter

from lm.loading import load_base
from rl.anchor import adapter_parameters
from rl.arguments import prompt_stream, trainer_arguments
from rl.hold import Hold
from rl.policy import make_policy
from rl.ppo import PPOTrainer
from rl.rollout import EngineRollouts
from rl.settings import AnchorSettings, PPOSettings
from rl.training import measure_anchor

LIMIT = 0.03
KINDS = {
    "matrices": AnchorSettings(samples=64, strength=300.0, replay=0.0),
    "product": AnchorSettings(samples=64, strength=300.0, replay=0.0, space="product"),
    "replay": AnchorSettings(samples=64, replay=1.0),
}


class Times(TrainerCallback):
    """Times holds within the steps of a training, and the steps without them; none of them holds anything."""

    def __init__(self, holds: dict[str, Hold], minibatches: int) -> None:
        self.holds, self.minibatches = holds, minibatches
        self.steps: list[float] = []
        self.added: dict[str, list[float]] = {name: [] for name in holds}

    def on_train_begin(self, *things: Any, **named: Any) -> None:
        for hold in self.holds.values():
            hold.on_train_begin(*things, **named)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._begun, self._apart = time.perf_counter(), 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        paused = time.perf_counter()
        parameters = adapter_parameters(named["model"]).values()
        gradients = [parameter.grad.clone() for parameter in parameters]
        for name, hold in self.holds.items():
            begun = time.perf_counter()
            hold.on_pre_optimizer_step(args, state, control, **named)
            self.added[name].append(time.perf_counter() - begun)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad.copy_(gradient)
        self._apart = time.perf_counter() - paused

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append(time.perf_counter() - self._begun - self._apart)

    def shares(self) -> dict[str, dict[str, float]]:
        """Median milliseconds of steps and holds, and each hold's median share of its step."""
        counted = [i for i in range(len(self.steps)) if i % self.minibatches]
        steps = [self.steps[i] for i in counted]
        found = {"step": {"ms": 1e3 * statistics.median(steps)}}
        for name, added in self.added.items():
            seconds = [added[i] for i in counted]
            shares = [one / step for one, step in zip(seconds, steps, strict=True)]
            found[name] = {"ms": 1e3 * statistics.median(seconds), "share": statistics.median(shares)}
        return found


def main() -> None:
    """Measure, print, write; exit 1 where the anchor costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--minibatch", type=int, default=8)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    facts = machine("torch", "transformers", "peft", "trl")
    print(f"{facts['machine']} {facts['versions']}")
    base = load_base(chosen.model, device=chosen.device, dtype="float32")
    ppo = PPOSettings(
        updates=chosen.updates, episodes=32, minibatch=chosen.minibatch, value_warmup=0, stop_kl=0.0, max_tokens=96
    )
    parent, prompts, pad = random_adapter(base, 0), questions(base, 64, 0), base.tokenizer.pad_token_id
    holds = {}
    for name, settings in KINDS.items():
        anchor, replay, _ = measure_anchor(base, parent, None, prompts, ppo, settings, 0)
        holds[name] = Hold(anchor, replay, settings, ppo.learning_rate, pad, 0)
    times = Times(holds, ppo.episodes // ppo.minibatch * ppo.epochs)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            model=make_policy(base, parent, ppo, 0),
            tokenizer=base.tokenizer,
            settings=ppo,
            arguments=trainer_arguments(ppo, Path(folder), seed=0, cpu=chosen.device == "cpu"),
            prompts=prompt_stream(prompts, ppo, 0),
            reward=lambda completions, **_: [len(set(each[0]["content"])) / 20 for each in completions],
            rollout=EngineRollouts(base, ppo, 0),
            callbacks=[times],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    shares = times.shares()
    parameters = sum(p.numel() for p in adapter_parameters(trainer.model).values())
    keep("anchor", facts | {"model": base.id, "minibatch": ppo.minibatch, "parameters": parameters, "times": shares})
    print(f"a step of {ppo.minibatch} answers takes {shares['step']['ms']:.1f} ms; {parameters} parameters are held")
    for name in KINDS:
        print(f"{name}: {shares[name]['ms']:.2f} ms, {shares[name]['share']:.2%} of a step")
    dear = [name for name in ("matrices", "product") if shares[name]["share"] > LIMIT]
    if dear:
        raise SystemExit(f"more than {LIMIT:.0%} of a step: {', '.join(dear)}")


if __name__ == "__main__":
    main()
