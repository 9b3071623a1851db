from __future__ import annotations

import pytest

from chat.pieces import Pieces
from lm.loading import Base
from lm.stream import Completion, Delta
from lm.thinking import thinking_marks

from .conftest import thoughtful


def completion(text: str) -> Completion:
    return Completion([1], [-1.0], [-1.0], text, "stop")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thinking_and_content_are_apart(tiny_base: Base, size: int) -> None:
    whole = "<think>Two and two.</think>Four."
    pieces = Pieces(thinking_marks(thoughtful(tiny_base)))
    made = [pieces.push(Delta(whole[at : at + size], [7], [-0.5])) for at in range(0, len(whole), size)]
    made.append(pieces.finish(completion(whole)))
    assert "".join(each.thinking for each in made) == pieces.thinking == "Two and two."
    assert "".join(each.text for each in made) == pieces.text == "Four."
    assert all(each.token_ids == [7] for each in made[:-1])


def test_text_held_back_to_the_end_is_the_last_piece() -> None:
    pieces = Pieces(None)
    assert pieces.push(Delta("Fo", [1], [-1.0])).text == "Fo"
    assert pieces.finish(completion("Four")).text == "ur"
    assert (pieces.text, pieces.thinking) == ("Four", "")
