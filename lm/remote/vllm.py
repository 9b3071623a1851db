"""Answers made by vLLM: exact token ids both ways, log-probabilities, and a version an adapter, loaded while it runs.

The server must run with `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True to load adapters
(https://docs.vllm.ai/en/latest/features/lora.html), and must see the folders that they stand in.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lm.adapters import adapter_hash, check_origin
from lm.backend import Prompt
from lm.engine import BASE
from lm.loading import BaseText
from lm.remote.asked import Asked, Piece
from lm.remote.refusals import Unknown, words
from lm.remote.server import Remote, usage_of
from lm.settings import BackendSettings, Sampling
from lm.stops import Stops
from lm.stream import Delta, FinishReason
from problems import Problem

log = logging.getLogger(__name__)

MARK = "token_id:"  # before the id, where the server is asked to name tokens by their ids


@dataclass(frozen=True)
class Held:
    """An adapter at the server: its name there, which holds the adapter's hash, and its path as the server sees it."""

    name: str
    path: str


class VLLM(Remote):
    """A vLLM server."""

    def __init__(self, base: BaseText, settings: BackendSettings, home: Path) -> None:
        """`home`: the folder in which every adapter stands; `settings.adapters` is the server's path of it."""
        super().__init__(base, settings)
        self._home = home.resolve()
        self._versions: dict[str, Held] = {}
        self._leaving: set[Held] = set()  # no longer offered, perhaps still in use
        self._loading = asyncio.Lock()

    # Versions

    def load(self, version: str, folder: Path) -> None:
        """Have the server load the adapter in `folder`; one that it holds already is taken as it is.

        Raises:
            Problem: the adapter is of another base or stands outside the home, or the server refuses it (its own
                words are in the message). What serves goes on.
        """
        if version == BASE:
            raise Problem('The version "0" is the base itself.', hint="Load under another name.")
        check_origin(folder, self.base)
        held = Held(f"ratchet-{version}-{adapter_hash(folder)[:12]}", self._path(folder))
        self._wait(self._load(held))
        with self._gate:
            old, self._versions[version] = self._versions.get(version), held
            self._leaving.discard(held)
            if old is not None and old != held:
                self._leaving.add(old)
        self._sweep()

    def remove(self, version: str) -> None:
        """Offer `version` no more; the server lets go of it once the last request on it has ended."""
        with self._gate:
            if version not in self._versions:
                raise self._unknown(version)
            self._leaving.add(self._versions.pop(version))
        self._sweep()

    def versions(self) -> list[str]:
        return [BASE, *self._versions]

    def _name(self, version: str) -> str:
        return self._versions[version].name if version in self._versions else super()._name(version)

    def _path(self, folder: Path) -> str:
        """The folder as the server sees it."""
        try:
            place = folder.resolve().relative_to(self._home)
        except ValueError:
            raise Problem(f"The adapter in {folder} stands outside {self._home}.", hint="Move it there.") from None
        return f"{(self.settings.adapters or str(self._home)).rstrip('/')}/{place.as_posix()}"

    async def _load(self, held: Held) -> None:
        async with self._loading:
            if any(card.get("id") == held.name for card in await self._cards()):
                return
            response = await self._tell("/v1/load_lora_adapter", {"lora_name": held.name, "lora_path": held.path})
            if response.status_code != 200:
                said = words(response, self.settings.key) or f"status {response.status_code}"
                hint = (
                    "It must run with --enable-lora, a --max-lora-rank large enough and "
                    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and see the folder: backend.adapters."
                )
                raise Problem(f"The vLLM server does not load the adapter {held.path}: {said}", hint=hint)

    def _sweep(self) -> None:
        """Have the server let go of what no request uses any more."""
        with self._gate:
            if self._closing or self._thread is None:  # a server that outlives this process keeps what it holds
                return
            used = {asked.body["model"] for asked in self._under_way}
            unused = {held for held in self._leaving if held.name not in used}
            self._leaving -= unused
            for held in unused:
                asyncio.run_coroutine_threadsafe(self._unload(held), self._loop)

    async def _unload(self, held: Held) -> None:
        """Nothing depends on it but the server's memory, so that a failure is only told to the log."""
        try:
            response = await self._tell("/v1/unload_lora_adapter", {"lora_name": held.name})
        except Problem as problem:
            log.warning("the vLLM server keeps %s: %s", held.name, problem)
            return
        if response.status_code != 200:
            log.warning("the vLLM server keeps %s: %s", held.name, words(response, self.settings.key))

    async def _tell(self, path: str, body: dict[str, str]) -> httpx.Response:
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._http.post(path, json=body)
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._lost(error) from error

    # Requests

    def _request(self, prompt: Prompt, sampling: Sampling, model: str) -> tuple[str, dict[str, Any]]:
        return "/v1/completions", self._common(sampling, model) | {
            "prompt": prompt.ids,
            # Said even where they do nothing: the server's defaults are those of the model's generation_config.json.
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "ignore_eos": sampling.ignore_eos,
            "logprobs": sampling.top_logprobs,  # 0: of the drawn token alone
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }

    def _stops(self, sampling: Sampling) -> Stops:
        """The server ends the text before a stop text by itself."""
        return Stops(())

    def _piece(self, event: dict[str, Any]) -> Piece:
        choices = event.get("choices") or []
        if not choices:
            return Piece(Delta("", [], []), usage=usage_of(event))
        choice = choices[0]
        marks = choice.get("logprobs") or {}
        delta = Delta(
            str(choice["text"]),
            [int(token) for token in choice.get("token_ids") or []],
            [float(value) for value in marks.get("token_logprobs") or []],
            [_likeliest(tops) for tops in marks.get("top_logprobs") or []],
        )
        if not all(map(math.isfinite, delta.logprobs)):
            raise ValueError("a log-probability is no number")
        if len(delta.logprobs) != len(delta.token_ids):
            delta.logprobs, delta.top_logprobs = [], []
        return Piece(delta, choice.get("finish_reason"), usage_of(event))

    async def _send(self, asked: Asked) -> FinishReason:
        """As for any server; one that was started again is given its adapter again."""
        try:
            return await super()._send(asked)
        except Unknown:
            with self._gate:
                held = [each for each in (*self._versions.values(), *self._leaving) if each.name == asked.body["model"]]
            if not held:
                raise
        await self._load(held[0])
        return await super()._send(asked)

    def _over(self, asked: Asked) -> None:
        self._sweep()


def _likeliest(tops: dict[str, float]) -> list[tuple[int, float]]:
    """Token ids and log-probabilities, the likeliest first."""
    found = [(int(token.removeprefix(MARK)), float(value)) for token, value in tops.items()]
    return sorted(found, key=lambda pair: -pair[1])
