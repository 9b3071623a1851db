"""The configuration: who overrides whom, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from problems import Problem
from settings import Settings, load_settings


def test_defaults_then_file_then_environment_then_flags(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}) == Settings()
    (tmp_path / "ratchet.toml").write_text('model = "a"\n[chat]\nport = 1\ntitle = "Ours"\n[ppo]\nupdates = 3\n')
    environment = {"RATCHET_MODEL": "b", "RATCHET_CHAT_PORT": "2", "RATCHET_PPO_LEARNING_RATE": "1e-5", "PATH": "/bin"}
    settings = load_settings(tmp_path, environment, {"chat.port": 3, "home": Path("elsewhere"), "model": None})
    assert (settings.model, settings.chat.port, settings.chat.title) == ("b", 3, "Ours")
    assert (settings.ppo.updates, settings.ppo.learning_rate) == (3, 1e-5)
    assert settings.home == Path("elsewhere")


@pytest.mark.parametrize(
    ("document", "message", "hint"),
    [
        ("modle = 'x'", "modle", "model"),
        ("[chat]\nprot = 80", r"chat\.prot", "chat.port"),
        ("[chta]\nport = 80", "chta", "chat"),
        ("chat = 3", "is a section", r"\[chat\]"),
        ("[ppo]\nupdates = 'many'", r"ppo\.updates is 'many'", "ratchet.toml"),
        ("model = ", "not valid TOML", "Mend"),
    ],
)
def test_mistakes_in_the_file_are_refused_with_the_way_out(
    tmp_path: Path, document: str, message: str, hint: str
) -> None:
    (tmp_path / "ratchet.toml").write_text(document)
    with pytest.raises(Problem, match=message) as caught:
        load_settings(tmp_path, {})
    assert hint.replace("\\", "") in caught.value.hint
    assert caught.value.status == 2


@pytest.mark.parametrize("value", ["a.example, b.example", '["a.example", "b.example"]'])
def test_a_list_in_the_environment(tmp_path: Path, value: str) -> None:
    settings = load_settings(tmp_path, {"RATCHET_CHAT_ALLOWED_HOSTS": value})
    assert settings.chat.allowed_hosts == ("a.example", "b.example")
    with pytest.raises(Problem, match=r"chat\.allowed_hosts"):
        load_settings(tmp_path, {"RATCHET_CHAT_ALLOWED_HOSTS": '["a.example"'})


def test_an_unknown_variable_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"chat\.porrt in the environment"):
        load_settings(tmp_path, {"RATCHET_CHAT_PORRT": "80"})


def test_the_backends_key_comes_from_the_environment_and_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "ratchet.toml").write_text('[backend]\nkind = "vllm"\nurl = "http://host:8000"\n')
    settings = load_settings(tmp_path, {"RATCHET_BACKEND_KEY": "sk-secret"})
    assert settings.backend.key == "sk-secret"
    assert "sk-secret" not in repr(settings)
    (tmp_path / "ratchet.toml").write_text("[backend]\nkey = 987654\n")
    with pytest.raises(Problem, match=r"backend\.key is not shown") as caught:
        load_settings(tmp_path, {})
    assert "987654" not in str(caught.value)
    with pytest.raises(Problem, match=r"backend\.kind is 'vlm'"):
        load_settings(tmp_path, {"RATCHET_BACKEND_KIND": "vlm", "RATCHET_BACKEND_KEY": "sk"})
