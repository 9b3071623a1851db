from __future__ import annotations

from contextlib import closing

from store.seen import Seen


def test_a_text_is_new_once() -> None:
    with closing(Seen()) as seen:
        assert [seen.add(text) for text in ("a", "b", "a", "", "", "A", "语", "语")] == [
            True,
            True,
            False,
            True,
            False,
            True,
            True,
            False,
        ]
    with closing(Seen()) as another:
        assert another.add("a")
