"""A store's secret salts: random text of its own, made when it is first opened, and part of its backups.

Without them whoever knows this program could reckon out on which side of the holdout a question falls, and who stands
behind a pseudonym. No export, page or answer of the API shows them.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import text
from sqlalchemy.orm import Session

from store.schema import Salt

Purpose = Literal["holdout", "import"]
FILE = "import.salt"  # where earlier versions kept the salt of imports: in the home, out of reach of backups


def new_salt() -> str:
    """256 random bits as 64 hexadecimal digits."""
    return secrets.token_hex(32)


def salt_of(session: Session, purpose: Purpose) -> str:
    """The salt; empty for the holdout of a store that is older than salts."""
    return session.get_one(Salt, purpose).value


def salts_missing(session: Session) -> bool:
    """Whether a salt has not been made yet."""
    return any(session.get(Salt, purpose) is None for purpose in get_args(Purpose))


def make_salts(session: Session, home: Path) -> None:
    """Make the salts that are missing; that of imports is the one in the home's file, where there is one."""
    file = home / FILE
    kept = file.read_text(encoding="utf-8") if file.exists() else new_salt()
    # Several hosts may open one database at once: the first one's salt stays.
    statement = text("INSERT INTO salts (purpose, value) VALUES (:purpose, :value) ON CONFLICT DO NOTHING")
    for purpose, value in (("holdout", new_salt()), ("import", kept)):
        session.execute(statement, {"purpose": purpose, "value": value})


def forget_file(session: Session, home: Path) -> None:
    """Remove the file of an earlier version once its salt is in the database."""
    file = home / FILE
    if file.read_text(encoding="utf-8") == salt_of(session, "import"):
        file.unlink()
