"""PPO on a tiny model: it learns, it resumes as if it had never stopped, and TRL keeps its side of the contract."""

from __future__ import annotations

import copy
import inspect
import json
import math
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOTrainer

import lm.likelihood
from lm.loading import Base, load_base
from problems import Problem
from rl.arguments import prompt_stream, trainer_arguments
from rl.checkpoints import last_checkpoint
from rl.policy import make_policy, policy_adapter
from rl.ppo import PPOTrainer, RewardFunction, Rollout
from rl.rollout import make_rollouts
from rl.settings import PPOSettings

from .rewarded import Paid, vowels

SETTINGS = PPOSettings(
    updates=4,
    episodes=16,
    minibatch=8,
    epochs=2,
    max_tokens=12,
    rank=4,
    learning_rate=3e-3,
    value_warmup=1,
    save_every=1,
)
PROMPTS = [[{"role": "user", "content": text}] for text in ("Where?", "When does it come?", "Two plus three?", "Hi")]


def trainer(
    base: Base,
    folder: Path,
    settings: PPOSettings = SETTINGS,
    callbacks: list[TrainerCallback] | None = None,
    kind: type[PPOTrainer] = PPOTrainer,
    reward: RewardFunction = vowels,
    seed: int = 0,
) -> PPOTrainer:
    return kind(
        model=make_policy(base, None, settings, seed),
        tokenizer=base.tokenizer,
        settings=settings,
        arguments=trainer_arguments(settings, folder, seed=seed, cpu=True, bf16=base.model.dtype == torch.bfloat16),
        prompts=prompt_stream(PROMPTS, settings, seed),
        reward=reward,
        rollout=make_rollouts(base, settings, seed, None, folder),
        callbacks=callbacks,
    )


def curve(ppo: PPOTrainer, figure: str) -> list[float]:
    return [row[figure] for row in ppo.state.log_history if figure in row]


def test_it_learns_what_is_rewarded_and_the_kl_grows_from_nought(tiny_base: Base, tmp_path: Path, seed: int) -> None:
    """Of a rollout of 64 answers, what was paid more becomes likelier.

    The correlation is .85 on average over seven seeds, .81 at the least. Fisher's z of .85 is 1.26 and of .4 is .42;
    its standard error with 64 answers less four means is 1 / sqrt(60 - 3) = .13. So .4 is 6.4 standard errors away:
    it is missed by accident less than once in a billion draws. The KL was 3.2 nats at the least; .05 are asked.
    """
    settings = replace(
        SETTINGS, updates=2, episodes=64, minibatch=32, epochs=8, clip=0.5, learning_rate=5e-3, value_warmup=0,
        stop_kl=0.0, missing_eos=0.0,
    )  # fmt: skip
    paid = Paid()
    ppo = trainer(tiny_base, tmp_path, settings, reward=paid, seed=seed)
    ppo.train()
    assert len(paid.rewards) == 64
    assert paid.followed(make_policy(tiny_base, None, settings, seed), ppo.model, tiny_base) > 0.4
    first, last = curve(ppo, "ppo/kl")
    assert abs(first) < 1e-4
    assert last > 0.05
    assert max(curve(ppo, "ppo/logp_difference")) < 1e-3


def test_the_policy_stands_still_while_the_critic_warms_up(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path, replace(SETTINGS, updates=2, value_warmup=2))
    before = policy_adapter(ppo.model)
    critic = {name: value.clone() for name, value in ppo.critic.state_dict().items()}
    ppo.train()
    after = policy_adapter(ppo.model)
    for name, (a, b) in before.weights.items():
        assert torch.equal(a, after.weights[name][0])
        assert torch.equal(b, after.weights[name][1])
    assert any(not torch.equal(value, ppo.critic.state_dict()[name]) for name, value in critic.items())


def test_stopped_and_resumed_equals_never_stopped(tiny_base: Base, tmp_path: Path) -> None:
    whole = trainer(tiny_base, tmp_path / "whole")
    whole.train()

    class StopHalfway(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= state.max_steps // 2

    trainer(tiny_base, tmp_path / "halves", callbacks=[StopHalfway()]).train()
    (checkpoint,) = (tmp_path / "halves").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-8"
    assert json.loads((checkpoint / "ppo.json").read_text())["rollouts"] == 2
    halves = trainer(tiny_base, tmp_path / "halves")
    halves.train(resume_from_checkpoint=str(checkpoint))
    assert halves.controller.beta == whole.controller.beta
    for name, value in whole.critic.state_dict().items():
        torch.testing.assert_close(halves.critic.state_dict()[name], value, rtol=0, atol=1e-6)
    expected = policy_adapter(whole.model).weights
    for name, (a, b) in policy_adapter(halves.model).weights.items():
        torch.testing.assert_close(a, expected[name][0], rtol=0, atol=1e-6)
        torch.testing.assert_close(b, expected[name][1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cut", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_cut_while_it_saves_the_checkpoint_before_is_still_there(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    assert last_checkpoint(tmp_path) is None
    ppo = trainer(tiny_base, tmp_path)
    saves = getattr(ppo, cut)

    def dies(folder: str) -> None:
        if folder.endswith("-8"):
            raise KeyboardInterrupt
        saves(folder)

    monkeypatch.setattr(ppo, cut, dies)
    with pytest.raises(KeyboardInterrupt):
        ppo.train()
    assert (tmp_path / "checkpoint-8").is_dir()  # it was begun
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    again = trainer(tiny_base, tmp_path)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 16
    assert [each.name for each in tmp_path.glob("checkpoint-*")] == ["checkpoint-16"]


def test_a_base_in_bfloat16_is_trained_through_an_adapter_in_float32(tiny_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(tiny_folder), "cpu", "bfloat16")
    settings = replace(SETTINGS, updates=2, value_warmup=0)
    ppo = trainer(base, tmp_path, settings)
    before = policy_adapter(ppo.model)
    ppo.train()
    after = policy_adapter(ppo.model)
    assert {part.dtype for pair in after.weights.values() for part in pair} == {torch.float32}
    assert any(not torch.equal(b, before.weights[name][1]) for name, (_, b) in after.weights.items())
    assert {parameter.dtype for parameter in ppo.critic.parameters()} == {torch.float32}
    assert 0 < max(curve(ppo, "ppo/logp_difference")) < settings.logp_tolerance


def test_settings_that_cannot_be_batched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"ppo.episodes is 20"):
        trainer_arguments(replace(SETTINGS, episodes=20), tmp_path, seed=0, cpu=True)
    with pytest.raises(Problem, match="3 processes cannot share"):
        trainer_arguments(SETTINGS, tmp_path, seed=0, cpu=True, processes=3)
    with pytest.raises(Problem, match="two optimizer steps"):
        trainer_arguments(replace(SETTINGS, minibatch=16, epochs=1), tmp_path, seed=0, cpu=True)


def test_trl_still_has_the_methods_that_are_overridden_or_called() -> None:
    def parameters(name: str) -> list[str]:
        return list(inspect.signature(getattr(GRPOTrainer, name)).parameters)

    assert parameters("_calculate_rewards") == ["self", "inputs", "prompts", "completions", "completion_ids_list"]
    assert parameters("_compute_loss") == ["self", "model", "inputs"]
    assert parameters("_generate") == ["self", "prompts"]
    assert parameters("_prepare_inputs") == ["self", "generation_batch"]
    assert parameters("_tokenize_prompts") == ["self", "prompts"]
    assert parameters("training_step") == ["self", "model", "inputs", "num_items_in_batch"]


def rolled_out(ppo: PPOTrainer) -> Rollout:
    ppo.model.train()
    return ppo._roll_out(
        [{"prompt": prompt, "missing_eos": ppo.settings.missing_eos} for prompt in PROMPTS for _ in range(4)]
    )


def moved(ppo: PPOTrainer, scale: float) -> None:
    """Move the policy away from the reference, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in ppo.model.named_parameters():
            if ".lora_B.default." in name:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def test_an_answer_that_does_not_end_is_fined_as_far_as_its_parents_answers_end(
    tiny_base: Base, tmp_path: Path
) -> None:
    """Half of the prompts are such that the parent never ends by itself: there nothing is fined."""
    knobs = replace(SETTINGS, updates=1, value_warmup=0, max_tokens=3)  # few answers of a random model end so soon
    ppo = trainer(tiny_base, tmp_path, knobs)
    fines = [-1.0, 0.0] * (len(PROMPTS) // 2)
    inputs = [{"prompt": list(prompt), "missing_eos": fine} for prompt, fine in zip(PROMPTS, fines, strict=True)]
    rollout = ppo._roll_out(inputs)
    ended = [ids[-1] in ppo.eos_token_ids for ids, _ in rollout.sequences]
    scores = vowels([[{"content": text}] for text in texts_of(ppo, rollout)])
    paid = [score + (0.0 if end else fine) for score, end, fine in zip(scores, ended, fines, strict=True)]
    assert ppo._metrics["train"]["ppo/paid"][-1] == pytest.approx(sum(paid) / len(paid), abs=1e-6)
    assert len(set(paid)) > 1


@pytest.mark.parametrize("cut", [False, True])
def test_a_rollout_and_a_minibatchs_loss_equal_a_float64_reference(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    """Also where a minibatch is cut into several passes, by length."""
    if cut:
        monkeypatch.setattr(lm.likelihood, "PASS", 1)
    knobs = replace(SETTINGS, value_warmup=0, entropy=0.01, lam=0.9, gamma=0.99, kl=0.3, missing_eos=-0.5)
    ppo = trainer(tiny_base, tmp_path, knobs)
    moved(ppo, 0.05)
    torch.nn.init.normal_(ppo.critic.outer.weight, std=0.5)
    rollout = rolled_out(ppo)
    scores = np.array(vowels([[{"content": text}] for text in texts_of(ppo, rollout)]))

    # The rollout, from the model's own logits in float64, answer by answer. A dozen tokens' float32 log-probabilities,
    # each right to half a millionth, add up in an advantage; the arithmetic alone is held to a millionth elsewhere.
    exact = in_float64(ppo)
    tokens = [plain(exact, ids, start) for ids, start in rollout.sequences]
    with_reference = in_float64(ppo, adapter="ref")
    references = [plain(with_reference, ids, start).logps for ids, start in rollout.sequences]
    advantages, returns = [], []
    for answer, reference, score, (ids, _) in zip(tokens, references, scores, rollout.sequences, strict=True):
        reward = -0.3 * (answer.logps - reference)
        reward[-1] += score - 0.5 * (ids[-1] not in ppo.eos_token_ids)
        delta = reward + 0.99 * np.append(answer.values[1:], 0.0) - answer.values
        lengths = range(len(delta))
        advantages.append(
            np.array([sum((0.99 * 0.9) ** (k - t) * delta[k] for k in lengths if k >= t) for t in lengths])
        )
        returns.append(advantages[-1] + answer.values)
    every = np.concatenate(advantages)
    for row, (gain, target) in enumerate(zip(advantages, returns, strict=True)):
        n = len(gain)
        np.testing.assert_allclose(rollout.advantages[row, :n], (gain - every.mean()) / every.std(), rtol=0, atol=5e-6)
        np.testing.assert_allclose(rollout.returns[row, :n], target, rtol=0, atol=5e-6)
        assert not rollout.advantages[row, n:].any()

    # A minibatch's loss after the policy has moved on, given the rollout's figures.
    ppo._rollout, ppo._step = rollout, 1
    inputs = ppo._prepare_inputs(None)
    moved(ppo, 0.03)
    found = ppo._compute_loss(ppo.model, inputs).item()
    total, exact = 0.0, in_float64(ppo)
    places = [row for batch in inputs["batches"] for row in batch.rows]
    assert (len(inputs["batches"]) > 1) == cut
    for row in places:
        ids, start = rollout.sequences[row]
        now, n = plain(exact, ids, start), len(ids) - start
        old, gain, target, before, weight = (
            getattr(rollout, name)[row, :n].double().numpy()
            for name in ("old_logps", "advantages", "returns", "values", "weights")
        )
        ratio = np.exp(now.logps - old)
        policy = -np.minimum(ratio * gain, np.clip(ratio, 0.8, 1.2) * gain) * weight
        bounded = np.clip(now.values, before - 0.2, before + 0.2)
        value = 0.5 * np.maximum((now.values - target) ** 2, (bounded - target) ** 2)
        total += (policy - 0.01 * now.entropies + 0.5 * value).sum()
    mean_tokens = sum(len(ids) - start for ids, start in rollout.sequences) / 2
    assert len(places) == 8
    assert found == pytest.approx(total / mean_tokens, abs=1e-6)


@dataclass
class Plain:
    logps: np.ndarray
    entropies: np.ndarray
    values: np.ndarray


def in_float64(ppo: PPOTrainer, adapter: str = "default") -> tuple[Any, Any]:
    """The policy's base with an adapter's products added to its weights, and the critic, both in float64."""
    model = copy.deepcopy(ppo.model)
    model.set_adapter(adapter)
    merged = model.merge_and_unload().double()
    # TRL's own forward holds on to the model that it was made for.
    merged.forward = types.MethodType(type(merged).forward, merged)
    return merged, copy.deepcopy(ppo.critic).double()


@torch.no_grad()
def plain(models: tuple[Any, Any], ids: list[int], start: int) -> Plain:
    model, critic = models
    output = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    logits = output.logits[0, start - 1 : -1].numpy()
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    hidden = output.hidden_states[-1][0, start - 1 : -1]
    return Plain(logp[np.arange(len(logp)), ids[start:]], -(np.exp(logp) * logp).sum(-1), critic(hidden).numpy())


def texts_of(ppo: PPOTrainer, rollout: Rollout) -> list[str]:
    return [ppo._tokenizer.decode(ids[start:], skip_special_tokens=True) for ids, start in rollout.sequences]


def test_each_epoch_meets_every_answer_once_and_in_other_company(tiny_base: Base, tmp_path: Path) -> None:
    met: list[list[int]] = []

    class Watched(PPOTrainer):
        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
            met.append([row for batch in inputs["batches"] for row in batch.rows])
            return super()._compute_loss(model, inputs)

    trainer(tiny_base, tmp_path, replace(SETTINGS, updates=2, stop_kl=0.0), kind=Watched).train()
    epochs = [met[i] + met[i + 1] for i in range(0, len(met), 2)]
    assert len(epochs) == 4
    assert all(sorted(rows) == list(range(16)) for rows in epochs)
    assert len({tuple(sorted(met[i])) for i in range(0, len(met), 2)}) == 4


def test_beyond_the_kl_bound_a_rollouts_other_minibatches_are_left_out(tiny_base: Base, tmp_path: Path) -> None:
    bounded = replace(SETTINGS, updates=3, learning_rate=3e-2, value_warmup=0, epochs=4)
    free = trainer(tiny_base, tmp_path / "free", replace(bounded, stop_kl=0.0))
    free.train()
    assert max(curve(free, "ppo/stopped")) == 0.0
    limited = trainer(tiny_base, tmp_path / "limited", replace(bounded, stop_kl=1e-3))
    limited.train()
    stopped = curve(limited, "ppo/stopped")
    assert 0.5 < max(stopped) < 1.0  # the first step of a rollout is always taken: nothing has moved yet
    assert curve(limited, "ppo/kl")[-1] < curve(free, "ppo/kl")[-1]
    assert limited.state.global_step == free.state.global_step


def test_rewards_are_scaled_and_clipped_and_the_scale_is_resumed(tiny_base: Base, tmp_path: Path) -> None:
    knobs = replace(SETTINGS, updates=2, reward_scaling="running", reward_clip=0.5, missing_eos=0.0)
    ppo = trainer(tiny_base, tmp_path, knobs)
    ppo.train()
    assert ppo.scale.count == 32
    assert ppo.scale.mean == pytest.approx(sum(curve(ppo, "ppo/score")) / 2, abs=1e-5)
    again = trainer(tiny_base, tmp_path, knobs)
    again._load_from_checkpoint(str(tmp_path / "checkpoint-8"))
    assert again.scale == ppo.scale
    clipped = rolled_out(again)
    last = clipped.mask.sum(1).long() - 1
    assert clipped.returns.shape == clipped.mask.shape
    assert last.min() >= 0
    assert abs(again._metrics["train"]["ppo/paid"][-1]) <= 0.5


def test_a_sampler_that_disagrees_ends_the_training(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path)
    honest = ppo.rollout_func

    def shifted(by: float) -> Any:
        def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
            drawn = honest(prompts, trainer)
            return drawn | {"logprobs": [[figure + by for figure in row] for row in drawn["logprobs"]]}

        return rollout

    ppo.rollout_func = shifted(-0.01)
    weights = rolled_out(ppo).weights
    torch.testing.assert_close(
        weights[weights > 0], torch.full_like(weights[weights > 0], math.exp(0.01)), atol=1e-4, rtol=0
    )
    ppo.rollout_func = shifted(0.05)
    with pytest.raises(RuntimeError, match=r"differ by 0\.05"):
        rolled_out(ppo)


def test_the_reference_stays_the_parent_and_only_policy_and_critic_are_trained(tiny_base: Base, tmp_path: Path) -> None:
    ppo = trainer(tiny_base, tmp_path, replace(SETTINGS, updates=2))
    before = {name: p.clone() for name, p in ppo.model.named_parameters() if ".ref." in name}
    ppo.train()
    assert before
    assert all(torch.equal(value, ppo.model.get_parameter(name)) for name, value in before.items())
    trained = {id(p) for group in ppo.optimizer.param_groups for p in group["params"]}
    named = {name for name, p in ppo.model.named_parameters() if id(p) in trained}
    assert named == {n for n, _ in ppo.model.named_parameters() if ".default." in n or n.startswith("critic.")}
