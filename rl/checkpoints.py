"""Which of a training's checkpoints are whole: a process may be killed while it writes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

COMPLETE = "complete"  # the last file that a checkpoint gets


class MarkComplete(TrainerCallback):
    """Marks each checkpoint when all of it is written, and only then drops the older ones.

    A process killed at any moment of this leaves one to go on from.
    """

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        PartialState().wait_for_everyone()  # the other processes' random states are written too
        if args.should_save:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / COMPLETE).touch()
            rotate_checkpoints(args.output_dir, save_total_limit=1)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that `MarkComplete` has marked, or None."""
    marked = [each.parent for each in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{COMPLETE}")]
    return max(marked, key=lambda each: int(each.name.rpartition("-")[2]), default=None)
