"""Train the starter: `python -m lm.starter.train --minutes 40 --seed 0 --out runs/starter`.

One stage, from nothing to a chat model: generated dialogues, loss on the assistant's own words only, Muon for the
matrices of the layers and AdamW for the rest, a schedule of warm-up, plateau and linear decay. Run again with the same
`--out`, it goes on where it was stopped. `accelerate launch -m lm.starter.train ...` runs the same on several processes
or on a GPU.

The data depend on the seed alone. With `--minutes` the schedule follows the clock, so two runs differ in their steps;
with `--steps` they do not, and `--until` stops such a run early, on its way. DIR holds `model/` (a transformers folder,
renewed at each checkpoint), `checkpoint/`, `loss.jsonl` and, for the loss on dialogues of the test half at each
checkpoint, `held_out.jsonl`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from lm.starter.batches import Place, batches
from lm.starter.recipe import AnswerLoss, Recipe, new_model, optimizers, rate
from lm.starter.tokenizer import train_tokenizer
from problems import Problem

_EXAMINED_BATCHES, _EXAMINED_TOKENS = 12, 4096


@dataclass(frozen=True)
class Progress:
    """How far a run is: what a checkpoint adds to the weights and the optimizers."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    chunk: int = 0
    batch: int = 0


def train(
    recipe: Recipe,
    out: Path,
    seed: int,
    minutes: float | None,
    steps: int | None,
    *,
    start_from: Path | None = None,
    until: int | None = None,
) -> Path:
    """Train until the minutes (of this run and those it continues) or steps are over; returns the model's folder.

    Args:
        start_from: a trained model to go on from, in place of nothing.
        until: stop after this step, with the rates of the whole run.

    Raises:
        Problem: neither minutes nor steps were given, or the folder holds a run with another recipe or seed.
    """
    if (minutes is None) == (steps is None):
        raise Problem("Training needs either minutes or steps.", hint="Give one of --minutes and --steps.", status=2)
    accelerator = Accelerator(mixed_precision="bf16" if _has_bf16() else "no")
    out.mkdir(parents=True, exist_ok=True)
    _check_same_run(out, {**asdict(recipe), "seed": seed, "start_from": str(start_from or "")}, accelerator)
    set_seed(seed)
    going_on = (out / "checkpoint").is_dir()
    taught = out / "model" if going_on else start_from
    tokenizer = PreTrainedTokenizerFast.from_pretrained(taught) if taught else train_tokenizer(seed, recipe.context)
    model = LlamaForCausalLM.from_pretrained(start_from) if start_from else new_model(recipe, tokenizer)
    if accelerator.device.type == "cpu":  # on short rows twice as fast as torch's fused attention, measured in bf16
        model.set_attn_implementation("eager")
    muon, adam = optimizers(recipe, model)
    loss_of, muon, adam = accelerator.prepare(AnswerLoss(model), muon, adam)
    step_loss = torch.compile(loss_of, dynamic=True) if recipe.compile else loss_of
    start = Progress()
    if going_on:
        accelerator.load_state(str(out / "checkpoint"))
        start = Progress(**json.loads((out / "checkpoint" / "progress.json").read_text()))
        _forget_after(out, start.step, accelerator)
    step, tokens, seconds, saved = start.step, start.tokens, start.seconds, start.seconds
    seen = Place(start.chunk, start.batch)
    losses: list[Tensor] = []
    began = time.monotonic()
    stream = batches(
        tokenizer,
        seed,
        recipe.batch_tokens,
        seen,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    bar = tqdm(
        total=steps or round((minutes or 0) * 60),
        initial=step if steps else round(seconds),
        unit="step" if steps else "s",
        disable=not (sys.stderr.isatty() and accelerator.is_main_process),
    )
    for ids, targets, place in stream:
        done = step / steps if steps else seconds / ((minutes or 0) * 60)
        if done >= 1 or (until is not None and step >= until):
            break
        factor = rate(recipe, done)
        for optimizer, full in ((muon, recipe.muon_rate), (adam, recipe.adam_rate)):
            for group in optimizer.param_groups:
                group["lr"] = full * factor
        loss = step_loss(ids.to(accelerator.device), targets.to(accelerator.device))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(loss_of.parameters(), recipe.clip)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
        seen = place
        step, tokens = step + 1, tokens + ids.numel() * accelerator.num_processes
        # All processes follow the clock of the first, or their rates and their last steps would differ.
        clock = torch.tensor(start.seconds + time.monotonic() - began, device=accelerator.device)
        passed = float(broadcast(clock)) - seconds
        seconds += passed
        bar.update(1 if steps else passed)
        if step % recipe.log_steps == 0:
            mean = accelerator.gather(torch.stack(losses).mean()[None]).mean().item()
            losses = []
            line = {
                "step": step,
                "seconds": round(seconds, 1),
                "tokens": tokens,
                "loss": round(mean, 4),
                "rate": round(factor, 4),
            }
            _log(out, line, bar, accelerator)
        if seconds - saved > recipe.checkpoint_minutes * 60:
            _save(accelerator, out, model, tokenizer, Progress(step, seconds, tokens, place.chunk, place.batch))
            _examine(out, step, AnswerLoss(model), tokenizer, accelerator)
            saved = seconds
    bar.close()
    _save(accelerator, out, model, tokenizer, Progress(step, seconds, tokens, seen.chunk, seen.batch))
    _examine(out, step, AnswerLoss(model), tokenizer, accelerator)
    return out / "model"


def _examine(
    out: Path, step: int, loss_of: AnswerLoss, tokenizer: PreTrainedTokenizerFast, accelerator: Accelerator
) -> None:
    """Write the loss on dialogues of the test half to `held_out.jsonl`: always the same batches, each counted once."""
    if not accelerator.is_main_process:
        return
    stream = batches(tokenizer, 0, _EXAMINED_TOKENS, Place(), split="test")
    with torch.no_grad(), accelerator.autocast():
        losses = [
            loss_of(ids.to(accelerator.device), targets.to(accelerator.device)).item()
            for ids, targets, _ in itertools.islice(stream, _EXAMINED_BATCHES)
        ]
    line = {"step": step, "loss": round(sum(losses) / len(losses), 4)}
    with (out / "held_out.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _check_same_run(out: Path, run: dict[str, object], accelerator: Accelerator) -> None:
    path = out / "run.json"
    if path.is_file() and json.loads(path.read_text()) != run:
        raise Problem(f"{out} holds a run with another recipe or seed.", hint="Choose another --out.")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        path.write_text(json.dumps(run, indent=1) + "\n")


def _forget_after(out: Path, step: int, accelerator: Accelerator) -> None:
    """Take out of the loss curves what was logged after the checkpoint, for it comes again."""
    for path in (out / "loss.jsonl", out / "held_out.jsonl"):
        if accelerator.is_main_process and path.is_file():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
            path.write_text("".join(line + "\n" for line in lines))


def _log(out: Path, line: dict[str, float], bar: tqdm, accelerator: Accelerator) -> None:
    if not accelerator.is_main_process:
        return
    with (out / "loss.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    if bar.disable:
        print("step {step}, {seconds:.0f} s, {tokens} tokens, loss {loss:.3f}".format(**line), flush=True)
    else:
        bar.set_postfix(loss=f"{line['loss']:.3f}")


def _save(
    accelerator: Accelerator, out: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, progress: Progress
) -> None:
    """Renew `checkpoint/` and `model/`: written under a temporary name, then renamed, so neither is ever half there."""
    accelerator.save_state(str(out / "checkpoint.tmp"))
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return
    (out / "checkpoint.tmp" / "progress.json").write_text(json.dumps(asdict(progress)) + "\n")
    model.save_pretrained(out / "model.tmp")
    tokenizer.save_pretrained(out / "model.tmp")
    for name in ("checkpoint", "model"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / f"{name}.tmp").rename(out / name)
    accelerator.wait_for_everyone()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m lm.starter.train", description="Train the starter model.")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="train that long, earlier runs in the same folder included")
    length.add_argument("--steps", type=int, help="train that many steps: repeatable to the last digit on one machine")
    parser.add_argument("--until", type=int, help="stop after this step, with the rates of the whole run")
    parser.add_argument("--compile", action="store_true", help="compile the loss: a fifth faster on long runs")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the tokenizer and the dialogues")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--start-from", type=Path, help="folder of a trained model to go on from, in place of nothing")
    for field in ("hidden", "layers", "heads", "inner", "batch_tokens"):
        parser.add_argument("--" + field.replace("_", "-"), type=int, default=getattr(Recipe, field))
    for field in ("muon_rate", "adam_rate"):
        parser.add_argument("--" + field.replace("_", "-"), type=float, default=getattr(Recipe, field))
    chosen = parser.parse_args(arguments)
    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # transformers' own, at each checkpoint
    knobs = {name: value for name, value in vars(chosen).items() if name in Recipe.__dataclass_fields__}
    try:
        folder = train(
            Recipe(**knobs),
            chosen.out,
            chosen.seed,
            chosen.minutes,
            chosen.steps,
            start_from=chosen.start_from,
            until=chosen.until,
        )
    except Problem as problem:
        print(f"{problem} {problem.hint}", file=sys.stderr)
        return problem.status
    print(f"The model is in {folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
