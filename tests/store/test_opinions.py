from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from store.database import open_store
from store.opinions import count_asked, count_opinions, opinions
from store.schema import Rating, present_ratings

from .conftest import Scene

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 2),
        st.sampled_from([("thumb", 1), ("thumb", -1), ("correction", "c"), ("pair", "left"), ("pair", "tie")]),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(events=EVENTS)
def test_they_are_those_of_the_view(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, tuple[str, object], int, bool]]
) -> None:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as store:
        scene = Scene(store)
        scene.play(events)
        kinds = ("thumb", "correction", "pair")
        with scene.store.session(reading=True) as session:
            query = select(Rating).join(present_ratings, present_ratings.c.id == Rating.id).order_by(Rating.id)
            present = [(each.kind, each.value, each.person_id, each.created) for each in session.scalars(query)]
            told = [(each.kind, each.value, each.person, each.created) for each in opinions(session, kinds)]
            assert told == present
            assert count_opinions(session, kinds) == len(present)
            assert count_asked(session) == 3
