"""The losses of PPO, one number a token: arithmetic free of any model, tested against plain float64 NumPy.

All tensors are [N], the real tokens of a minibatch one after another; there is no padding to be masked.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, clip: float, log_ratio: float
) -> tuple[Tensor, Tensor]:
    """Clipped surrogate -min(r A, clip(r, 1 - clip, 1 + clip) A) with r = p(token) / p_old(token) [arXiv 1707.06347,
    equation 7].

    Args:
        logps: of the policy that is trained; gradients flow through them alone.
        old_logps: of the policy that gave the answers.
        advantages: of the tokens.
        clip: bound of the ratio's move from 1.
        log_ratio: bound of |log r| before it is exponentiated, against overflow of a token that became impossible.

    Returns:
        (loss, whether the clip was what counted), each [N].
    """
    ratio = (logps - old_logps).clamp(-log_ratio, log_ratio).exp()
    free, bounded = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    return -torch.minimum(free, bounded), bounded < free


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Half the squared error of the critic, pessimistic about moves beyond `clip` [arXiv 2403.17031, detail 13]."""
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (bounded - returns) ** 2)


def approximate_kl(logps: Tensor, old_logps: Tensor, log_ratio: float) -> Tensor:
    """KL(old || new) a token, the k3 estimate r - 1 - log r: never negative, of low variance
    (Schulman, http://joschu.net/blog/kl-approx.html)."""
    move = (logps - old_logps).clamp(-log_ratio, log_ratio)
    return move.exp() - 1 - move


def importance_weights(old_logps: Tensor, sampled_logps: Tensor, cap: float) -> Tensor:
    """Truncated weights min(p_old / p_sampler, cap) that correct for a sampler whose arithmetic differs from the
    trainer's: another precision, another kernel, another server [Ionides 2008; arXiv 1802.01561, equation 1]."""
    return (old_logps - sampled_logps).exp().clamp(max=cap)
