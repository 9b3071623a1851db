"""How long answers may become."""

from __future__ import annotations

import pytest

from lm.lengths import LEAST, MOST, longest_answer


@pytest.mark.parametrize(("context", "rated", "expected"), [
    (512, None, 256),
    (512, [], 256),
    (1024, None, 512),
    (131_072, None, MOST),
    (8192, [20] * 100, LEAST),  # short answers leave a policy room for another style
    (8192, [100] * 99 + [500], 128),  # 1.25 times as long, and on to a multiple of 16
    (8192, [512] * 100, 512),  # what people saw was cut there: nothing longer was rated
    (8192, [100] * 96 + [3000] * 4, 128),  # a few rambling ones do not set the length for all
    (8192, [100] * 90 + [300] * 9 + [900], 384),
    (512, [400] * 20, 256),  # never more than half of the context
    (1, [3], 1),
])  # fmt: skip
def test_the_rule(context: int, rated: list[int] | None, expected: int) -> None:
    assert longest_answer(context, rated) == expected


def test_the_order_of_the_ratings_does_not_matter() -> None:
    lengths = list(range(1, 301))
    assert longest_answer(8192, lengths) == longest_answer(8192, lengths[::-1]) == 304
