"""Turn a training run into the model that ships: `python -m lm.starter.export --run runs/starter`.

Weights are stored in bfloat16 as safetensors. `python -m lm.starter.card` then measures the model and writes its card.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WEIGHTS = Path(__file__).parent / "weights"


def export(run: Path, out: Path) -> int:
    """Write the run's model to `out`, replacing what stood there but a card; returns the size in bytes."""
    model = AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    new = out.with_name(out.name + ".tmp")
    shutil.rmtree(new, ignore_errors=True)
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    shutil.copy(run / "loss.jsonl", new / "loss.jsonl")
    shutil.copy(run / "run.json", new / "run.json")
    if (out / "README.md").is_file():
        shutil.copy(out / "README.md", new / "README.md")
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return sum(file.stat().st_size for file in out.iterdir())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lm.starter.export", description="Export a run of lm.starter.train."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write")
    chosen = parser.parse_args(arguments)
    size = export(chosen.run, chosen.out)
    print(f"{chosen.out}: {size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
