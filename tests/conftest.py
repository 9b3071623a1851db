"""What several rooms' tests share: a random tiny model that loads like a real one, and a PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from .postgres import Server, run_server

if TYPE_CHECKING:
    from lm.loading import Base

# Every random draw of a test begins here: another base seed is another draw of data, of trainings and of examples.
BASE_SEED = int(os.environ.get("RATCHET_TEST_SEED", "0"))

# How long an example takes is the machine's affair, not the code's.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

LINES = [
    "Where is my parcel? It left the warehouse on Monday and arrives on Thursday.",
    "Good morning! How may I help you today? Please tell me the number of your order.",
    "Translate to Chinese: the sun is warm. 太阳很暖和。",
    "Two plus three is five. Seven minus four is three. A triangle has three sides.",
]
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give Hypothesis the base seed, unless the command line names another."""
    if config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(BASE_SEED)


@pytest.fixture(scope="session")
def seed() -> int:
    """What a test adds to the seeds of its draws: 0, and far from it with another RATCHET_TEST_SEED."""
    return 10_000 * BASE_SEED


def _write_tiny(folder: Path) -> Path:
    """A random Llama (2 layers, grouped heads) and a byte-level tokenizer of 320 tokens, saved to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=specials[2:],
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # wide, so that random answers vary instead of repeating one token
        tie_word_embeddings=False,
        pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def unsalted() -> Iterator[None]:
    """Stores made by tests in this process have no salt, as old ones: a test draws the same split each time."""
    from store import salts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(salts, "new_salt", str)
        yield


@pytest.fixture
def salted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that are opened for the first time in this test have a secret salt, as outside of tests."""
    from store import salts

    monkeypatch.setattr(salts, "new_salt", lambda: secrets.token_hex(32))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random tiny chat model, as `load_base` takes it. Never write into it."""
    return _write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_base(tiny_folder: Path) -> Base:
    """The model of `tiny_folder`, loaded on the CPU in float32. Never change it."""
    from lm.loading import load_base

    return load_base(str(tiny_folder), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def load_tiny(tiny_folder: Path) -> Callable[[], Base]:
    """Loads another copy of the tiny model, for a test that changes it."""
    from lm.loading import load_base

    return lambda: load_base(str(tiny_folder), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; its database `empty_store` holds the tables and no row, to be copied."""
    from store.database import migrate
    from store.engines import make_engine

    with run_server() as server:
        server.execute("CREATE DATABASE empty_store")
        engine = make_engine(server.url("empty_store"))
        migrate(engine)
        engine.dispose()
        yield server


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs beside the repository; whatever needs it is skipped where it is missing."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}")
    return folder


NUMBERS = itertools.count()


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    """The URL of a database of this test's own: with the tables, without a row."""
    name = f"store_{next(NUMBERS)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE empty_store")
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
