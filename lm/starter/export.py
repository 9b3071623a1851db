"""Turn a training run into the model that ships: `python -m lm.starter.export --run runs/starter`.

Weights are stored in bfloat16 as safetensors, with the recipe and the loss curve of every stage that led to them.
`python -m lm.starter.card` then measures the model and writes its card.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging

WEIGHTS = Path(__file__).parent / "weights"
# Tokens that the shipped model reads: an answer takes up to half of them, and up to some 300 tokens of prompt answers
# stay right; training dialogues were no longer, so beyond that older turns are better left out.
CONTEXT = 512


def export(run: Path, out: Path) -> int:
    """Write the run's model to `out`, replacing what stood there but a card; returns the size in bytes."""
    model = AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model.config.max_position_embeddings = tokenizer.model_max_length = CONTEXT
    model.generation_config = GenerationConfig(
        do_sample=True,  # greedy decoding would hide the styles that people are to choose from
        temperature=0.8,
        max_new_tokens=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    new = out.with_name(out.name + ".tmp")
    shutil.rmtree(new, ignore_errors=True)
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    (new / "stages.json").write_text(json.dumps(stages(run), indent=1, ensure_ascii=False) + "\n")
    if (out / "README.md").is_file():
        shutil.copy(out / "README.md", new / "README.md")
    for file in new.iterdir():
        file.chmod(0o644)
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return sum(file.stat().st_size for file in out.iterdir())


def stages(run: Path) -> list[dict[str, Any]]:
    """The runs that led to this one, the first first: recipe, note (a run's `note.txt`) and loss curve of each.

    The curve is a list of [step, seconds, padded tokens, loss].
    """
    recipe = json.loads((run / "run.json").read_text())
    lines = [json.loads(line) for line in (run / "loss.jsonl").read_text().splitlines()]
    note = run / "note.txt"
    stage = {
        "recipe": {name: value for name, value in recipe.items() if name != "start_from"},
        "note": note.read_text().strip() if note.is_file() else "",
        "curve": [[line[name] for name in ("step", "seconds", "tokens", "loss")] for line in lines],
    }
    before = recipe.get("start_from")
    return [*(stages(Path(before).parent) if before else []), stage]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m lm.starter.export", description="Export a training run.")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write")
    chosen = parser.parse_args(arguments)
    logging.disable_progress_bar()
    size = export(chosen.run, chosen.out)
    print(f"{chosen.out}: {size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
