"""Every row of one database into another, empty one, whichever the two are: what lets a store move."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, Table, delete, func, insert, inspect, literal, select, text

from store.schema import Message, Salt, Tables

CHUNK = 500


def tables() -> list[Table]:
    """Every table, each after those that its keys point at."""
    return list(Tables.metadata.sorted_tables)


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table holds, by its name; tables that an older schema lacks are left out."""
    there = set(inspect(connection).get_table_names())
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in tables()
        if table.name in there
    }


def clear(connection: Connection) -> None:
    """Delete every row."""
    for table in reversed(tables()):
        connection.execute(table.delete())


def copy_rows(source: Connection, target: Connection) -> None:
    """Copy every row within the two open transactions; `target` must be at the same schema, and empty.

    An empty store has made salts of its own already: those of `source` take their place.
    Numbers that were given out once are not given out again, though their rows may be gone.
    """
    target.execute(delete(Salt))
    for table in tables():
        rows = source.execution_options(yield_per=CHUNK).execute(_parents_first(table)).mappings()
        for part in rows.partitions(CHUNK):
            target.execute(insert(table), [dict(row) for row in part])
    for table in tables():
        if table.dialect_options["sqlite"]["autoincrement"]:
            _give_from(target, table.name, _given(source, table.name))


def _parents_first(table: Table) -> Select[Any]:
    if table.name != Message.__tablename__:
        return select(table).order_by(*table.primary_key)
    # The ids of messages are random: a tree is walked from its roots.
    root = select(table.c.id, literal(0).label("depth")).where(table.c.parent_id.is_(None)).cte(recursive=True)
    tree = root.union_all(select(table.c.id, root.c.depth + 1).join(root, table.c.parent_id == root.c.id))
    return select(table).join(tree, tree.c.id == table.c.id).order_by(tree.c.depth, table.c.id)


def _given(connection: Connection, table: str) -> int:
    """The highest number that `table` has given to a row; 0 for none."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table})
        return int(found.scalar() or 0)
    row = connection.execute(text(f"SELECT last_value, is_called FROM {table}_id_seq")).one()
    return int(row.last_value) if row.is_called else 0


def _give_from(connection: Connection, table: str, last: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
        statement = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"
        connection.execute(text(statement), {"name": table, "last": last})
    else:
        statement = "SELECT setval(pg_get_serial_sequence(:name, 'id'), :last, :given)"
        connection.execute(text(statement), {"name": table, "last": max(last, 1), "given": last > 0})
