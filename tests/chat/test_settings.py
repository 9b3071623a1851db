from __future__ import annotations

from typing import Any

import pytest

from chat.settings import ChatSettings
from problems import Problem


@pytest.mark.parametrize(
    ("name", "value"),
    [("candidates", 1), ("uniform_share", -0.1), ("uniform_share", 1.5), ("pair_share", 2.0)],
)
def test_what_cannot_work_is_refused(name: str, value: float) -> None:
    knobs: dict[str, Any] = {name: value}
    with pytest.raises(Problem, match=f"The chat's {name} is {value}"):
        ChatSettings(**knobs)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    assert ChatSettings(candidates=2, uniform_share=0.0, pair_share=1.0).candidates == 2
