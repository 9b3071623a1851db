from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lm.starter import train as stage
from lm.starter.export import export, stages
from lm.starter.recipe import Recipe
from lm.starter.train import main, train
from problems import Problem

SMALL = Recipe(hidden=32, layers=1, heads=2, inner=64, batch_tokens=512, log_steps=5)


@pytest.fixture(autouse=True)
def _one_tokenizer(monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerFast) -> None:
    """Learned once for all tests: the same seed and context give the same tokenizer."""
    monkeypatch.setattr(stage, "train_tokenizer", lambda seed, context: tokenizer)


def test_killed_at_a_checkpoint_it_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    often = replace(SMALL, checkpoint_minutes=0.0)  # a checkpoint after each step
    whole = train(SMALL, tmp_path / "whole", 0, None, 6)
    saved = stage._save

    def save_and_die(*arguments: Any) -> None:
        saved(*arguments)
        if arguments[-1].step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(often, tmp_path / "parts", 0, None, 6)
    monkeypatch.setattr(stage, "_save", saved)
    parts = train(often, tmp_path / "parts", 0, None, 6)
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_falls_and_is_written_down(tmp_path: Path) -> None:
    train(SMALL, tmp_path, 0, None, 20)
    lines = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(5, 21, 5))
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3


def test_a_longer_run_continues_a_shorter_one(tmp_path: Path) -> None:
    train(SMALL, tmp_path, 0, None, 5)
    train(SMALL, tmp_path, 0, None, 10)
    lines = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    progress = json.loads((tmp_path / "checkpoint" / "progress.json").read_text())
    assert progress["step"] == 10
    with pytest.raises(Problem, match="another recipe or seed"):
        train(SMALL, tmp_path, 1, None, 10)


def test_a_part_of_a_run_follows_the_whole_and_can_be_finished(tmp_path: Path) -> None:
    whole = train(SMALL, tmp_path / "whole", 0, None, 15)
    train(SMALL, tmp_path / "part", 0, None, 15, until=10)
    curves = [
        [json.loads(line) for line in (tmp_path / run / "loss.jsonl").read_text().splitlines()]
        for run in ("whole", "part")
    ]
    assert [line["loss"] for line in curves[1]] == [line["loss"] for line in curves[0][:2]]
    finished = train(SMALL, tmp_path / "part", 0, None, 15)
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, finished))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_on_the_test_half_is_written_down(tmp_path: Path) -> None:
    train(SMALL, tmp_path, 0, None, 3)
    train(SMALL, tmp_path, 0, None, 40)
    lines = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 40]
    assert lines[1]["loss"] < lines[0]["loss"] - 0.3


def test_the_export_is_small_and_loads(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "run", 0, None, 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("card")
    size = export(tmp_path / "run", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert size == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    assert (tmp_path / "out" / "README.md").read_text() == "card"
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert model.generation_config.eos_token_id == 1
    assert model.generation_config.do_sample


def test_a_second_stage_goes_on_from_the_first(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "one", 0, None, 20)
    (tmp_path / "one" / "note.txt").write_text("narrow words")
    train(SMALL, tmp_path / "two", 1, None, 5, start_from=tmp_path / "one" / "model")
    first, second = stages(tmp_path / "two")
    assert (first["recipe"]["seed"], second["recipe"]["seed"]) == (0, 1)
    assert (first["note"], second["note"]) == ("narrow words", "")
    assert second["curve"][0][3] < first["curve"][0][3] - 0.3
    assert [row[0] for row in second["curve"]] == [5]


def test_the_command_wants_a_length_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    (tmp_path / "run.json").write_text("{}")
    assert main(["--steps", "1", "--out", str(tmp_path)]) == 1
    assert "Choose another --out" in capsys.readouterr().err
