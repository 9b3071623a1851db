from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from problems import Problem
from store.conversations import person
from store.database import Store, migrate, open_store
from store.schema import Person, Tables, present_ratings


def test_the_migrated_schema_is_the_declared_one(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Tables.metadata) == []
        view = {column["name"] for column in inspect(connection).get_columns("present_ratings")}
    assert view == set(present_ratings.columns.keys())


def test_down_removes_everything_and_up_brings_it_back(store: Store) -> None:
    migrate(store.engine, "base")
    assert inspect(store.engine).get_table_names() == ["alembic_version"]
    assert inspect(store.engine).get_view_names() == []
    migrate(store.engine)
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Tables.metadata) == []
    assert inspect(store.engine).get_view_names() == ["present_ratings"]


def test_every_connection_is_durable_and_checks_keys(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.session() as session:
        found = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    store.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_commit_is_on_postgresqls_disk_before_it_returns(tmp_path: Path, postgres_url: str) -> None:
    store = open_store(tmp_path, f"{postgres_url}&options=-csynchronous_commit%3Doff")
    with store.session() as session:
        found = {name: session.execute(text(f"SHOW {name}")).scalar() for name in ("synchronous_commit", "fsync")}
    store.close()
    assert found == {"synchronous_commit": "on", "fsync": "on"}


def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    def fail_after_writing() -> None:
        with store.session() as session:
            person(session, None, "ann")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    with store.session(reading=True) as session:
        assert session.scalars(select(Person)).all() == []


def test_objects_stay_readable_after_the_block_and_times_know_their_zone(store: Store) -> None:
    with store.session() as session:
        made = person(session, None, "ann")
    with store.session(reading=True) as session:
        again = person(session, made.id)
    assert (again.name, again.created) == ("ann", made.created)
    assert again.created.utcoffset() is not None


def test_a_reading_session_refuses_to_write(store: Store) -> None:
    with pytest.raises(TypeError, match="reading session"), store.session(reading=True) as session:
        session.add(Person(name="ann"))


def test_reading_goes_on_while_another_writes(store: Store) -> None:
    with store.session() as writing:
        person(writing, None, "ann")
        with store.session(reading=True) as session:
            assert session.scalars(select(Person)).all() == []
    with store.session(reading=True) as session:
        assert [each.name for each in session.scalars(select(Person))] == ["ann"]


def test_a_reader_that_then_writes_waits_for_its_turn(store: Store) -> None:
    """Two sessions that read first and write later: with plain BEGIN the second would fail at once."""
    meet = threading.Barrier(2)
    failed: list[BaseException] = []

    def work(name: str) -> None:
        meet.wait()
        try:
            for turn in range(20):
                with store.session() as session:
                    session.scalars(select(Person)).all()
                    person(session, None, f"{name}{turn}")
        except BaseException as error:  # reported by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    with store.session(reading=True) as session:
        assert len(session.scalars(select(Person)).all()) == 40


def test_a_store_of_a_newer_program_is_refused(store: Store, url: str | None) -> None:
    with store.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Problem, match="newer Ratchet") as caught:
        open_store(store.home, url)
    assert "Update Ratchet" in caught.value.hint


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "ratchet.db").write_bytes(b"a letter, not a database" * 100)
    with pytest.raises(Problem, match="not a database"):
        open_store(tmp_path)
    assert (tmp_path / "ratchet.db").read_bytes().startswith(b"a letter")


def test_a_home_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Problem, match="cannot be made"):
        open_store(tmp_path / "home")


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/name"])
def test_a_wrong_url_is_a_problem(tmp_path: Path, url: str) -> None:
    with pytest.raises(Problem, match="URL"):
        open_store(tmp_path, url)


def test_another_url_is_used(tmp_path: Path) -> None:
    opened = open_store(tmp_path / "home", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    opened.close()
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "home" / "ratchet.db").exists()


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = tmp_path / "a%20b ?x=1#%s é"
    open_store(home).close()
    assert (home / "ratchet.db").exists()


def test_many_open_a_new_store_at_once(tmp_path: Path, url: str | None) -> None:
    """On PostgreSQL from homes of their own, as hosts do."""
    if url is not None:
        emptied = open_store(tmp_path, url)
        migrate(emptied.engine, "base")
        emptied.close()
    homes = [tmp_path / ("home" if url is None else f"host {number}") for number in range(6)]
    opened: list[Store] = []
    threads = [threading.Thread(target=lambda home=home: opened.append(open_store(home, url))) for home in homes]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(opened) == 6
    for store in opened:
        store.close()


@pytest.mark.parametrize("writing", [True, False])
def test_a_store_that_others_hold_for_too_long_is_a_problem(
    tmp_path: Path, url: str | None, monkeypatch: pytest.MonkeyPatch, writing: bool
) -> None:
    monkeypatch.setattr("store.engines.BUSY_SECONDS", 0.05)
    store = open_store(tmp_path, url)

    def write(name: str) -> None:
        with store.session() as session:
            person(session, None, name)

    with store.session() as session:
        if writing:
            person(session, None, "ann")
        else:
            session.scalars(select(Person)).all()
        with pytest.raises(Problem, match=r"locked|lock timeout") as caught:
            write("bob")
    store.close()
    assert "Another process" in caught.value.hint


def test_a_reader_sees_one_state_to_its_end(store: Store) -> None:
    with store.session(reading=True) as session:
        assert session.scalars(select(Person)).all() == []
        with store.session() as writing:
            person(writing, None, "ann")
        assert session.scalars(select(Person)).all() == []


def test_what_a_database_cannot_hold_is_a_problem(store: Store, url: str | None) -> None:
    """The last line of defence: values are checked before."""
    if url is None:
        return
    with pytest.raises(Problem, match="NUL"), store.session() as session:
        session.get(Person, "a\0b")
