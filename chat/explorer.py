"""The two answers of several that are worth a comparison, by the newest reward model in the store's folder.

Its heads read features of the frozen base, so that the base's weights must be in this process. Where they are not, and
as long as there is no reward model that fits, nothing is chosen.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path

import torch

from lm.loading import Base, BaseText
from lm.threads import apart
from reward.exploration import Drawn, choose_pair
from reward.model import RewardModel, load_reward, newest_reward

log = logging.getLogger(__name__)


class Explorer:
    """Chooses pairs by a reward model, loaded when the first pair is wanted and again when there is a newer one.

    Args:
        home: the store's folder.
        base: that the answers come from.
        candidates: answers that it is to choose from; with 2 there is nothing to choose.
        uniform_share: share of the pairs that are drawn evenly.
        look_seconds: time between two looks for a newer reward model.
    """

    def __init__(
        self, home: Path, base: BaseText, *, candidates: int, uniform_share: float, look_seconds: float
    ) -> None:
        self.candidates = candidates
        self._home, self._share, self._look_seconds = home, uniform_share, look_seconds
        self._base = base if isinstance(base, Base) and candidates > 2 else None
        self._judge: RewardModel | None = None
        self._found: tuple[Path, int, int] | None = None
        self._looked = float("-inf")
        self._looking = threading.Lock()
        self._generator = torch.Generator()
        self._generator.seed()

    async def ready(self) -> bool:
        """Whether a reward model can choose now."""
        return self._base is not None and await asyncio.to_thread(self._look, self._base) is not None

    async def choose(self, messages: list[dict[str, str]], answers: list[str]) -> Drawn | None:
        """Draw two of some different answers; None, and the log says why, where the reward model cannot."""
        judge = self._judge
        if judge is None:
            return None
        try:
            return await asyncio.to_thread(apart, lambda: self._draw(judge, messages, answers))
        except Exception:  # two answers were promised, and there are two
            log.exception("the reward model could not choose two answers; the first two are shown")
            return None

    def _draw(self, judge: RewardModel, messages: list[dict[str, str]], answers: list[str]) -> Drawn:
        rewards = judge.members([messages] * len(answers), answers)
        return choose_pair(rewards, self._share, self._generator)

    def _look(self, base: Base) -> RewardModel | None:
        with self._looking:
            if time.monotonic() - self._looked >= self._look_seconds:
                found = self._newest()
                if found != self._found:
                    self._judge = None if found is None else self._load(found[0], base)
                    self._found = found
                self._looked = time.monotonic()
            return self._judge

    def _newest(self) -> tuple[Path, int, int] | None:
        """Where the newest reward model is, and what changes when it is written anew."""
        try:
            folder = newest_reward(self._home)
            facts = None if folder is None else (folder / "reward.json").stat()
        except FileNotFoundError:  # taken away this very moment
            return None
        return None if folder is None or facts is None else (folder, facts.st_mtime_ns, facts.st_size)

    def _load(self, folder: Path, base: Base) -> RewardModel | None:
        try:
            judge = apart(lambda: _loaded(folder, base))
        except Exception as error:  # whatever its files hold, the chat goes on
            log.error("the reward model in %s chooses no pairs: %s: %s", folder, type(error).__name__, error)
            return None
        log.info("the reward model in %s chooses which two answers are shown", folder)
        return judge


def _loaded(folder: Path, base: Base) -> RewardModel:
    """The reward model, after a try: what is damaged shows now and not at somebody's turn."""
    judge = load_reward(folder, base)
    rewards = judge.members([[{"role": "user", "content": "?"}]], ["!"])
    if not bool(torch.isfinite(rewards).all()):
        raise ValueError("its rewards are not finite")
    return judge
