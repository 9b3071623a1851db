"""The least time that PPO's matrix products take: each product that an episode needs, alone, at its real shape.

Counted are the linear layers of the frozen trunk and the output head at the answers' positions: reading the prompts,
one step of all answers for each new token, one pass of the reference, and forward and backward passes of the epochs.
Values come from the trunk's own hidden states, sampling's log-probabilities from sampling. Attention, the adapters'
thin products, norms and the optimizer are left out, so no program reaches the floor.
"""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch
import torch.nn.functional as F
from ppo_task import Task
from transformers import AutoConfig

REPEATS = 9


@cache
def seconds(rows: int, entering: int, leaving: int, dtype: torch.dtype) -> float:
    """Median of the time that [rows, entering] times [entering, leaving] takes."""
    x, weight = torch.randn(rows, entering).to(dtype), torch.randn(leaving, entering).to(dtype)
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        F.linear(x, weight)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


@torch.inference_mode()
def floor(task: Task) -> dict[str, float]:
    """Seconds an episode, by part; `critic` is what a separate one, trained in full, adds."""
    config = AutoConfig.from_pretrained(task.model)
    dtype = getattr(torch, task.dtype)
    width, inner, head = config.hidden_size, config.intermediate_size, config.hidden_size // config.num_attention_heads
    heads, shared = config.num_attention_heads * head, config.num_key_value_heads * head
    linears = [(width, heads), (width, shared), (width, shared), (heads, width)]
    linears += [(width, inner), (width, inner), (inner, width)]

    def trunk(rows: int) -> float:
        return config.num_hidden_layers * sum(seconds(rows, i, o, dtype) for i, o in linears)

    def trunk_back(rows: int) -> float:
        return config.num_hidden_layers * sum(seconds(rows, o, i, dtype) for i, o in linears)

    def trunk_weights(rows: int) -> float:
        return config.num_hidden_layers * sum(seconds(o, rows, i, dtype) for i, o in linears)

    def top(rows: int) -> float:
        return seconds(rows, width, config.vocab_size, dtype)

    passes = task.episodes // task.minibatch
    whole = task.minibatch * (task.longest_prompt + task.new_tokens)
    answers = task.minibatch * task.new_tokens
    parts = {
        "generation": trunk(task.episodes * task.longest_prompt)
        + (task.new_tokens - 1) * trunk(task.episodes)
        + task.new_tokens * top(task.episodes),
        "reference": passes * (trunk(whole) + top(answers)),
        "training": task.epochs
        * passes
        * (trunk(whole) + trunk_back(whole) + top(answers) + seconds(answers, config.vocab_size, width, dtype)),
        "critic": passes * trunk(whole)
        + task.epochs * passes * (trunk(whole) + trunk_back(whole) + trunk_weights(whole)),
    }
    return {name: part / task.episodes for name, part in parts.items()}
