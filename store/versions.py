"""Versions, which of them serves, and the audit of every change of that.

The pointer `serving` moves only by `promote` and `rollback` (and once by `ensure_base`, when a store is new); each
writes its audit row in the same transaction. Promotions are a stack, kept nowhere but in the audit: rollback pops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from problems import Problem
from store.checks import check_choice, check_short, check_text, known
from store.schema import Audit, Serving, Version

# retired: served once and was rolled back.
STATUSES = ("base", "candidate", "canary", "promoted", "rejected", "retired")


def ensure_base(session: Session, base_id: str, fingerprint: str) -> Version:
    """Version 0, the base with adapters off; made and put in service when the store is new.

    Raises:
        Problem: the store's versions stand on a base with another fingerprint.
    """
    base = session.get(Version, 0)
    if base is None:
        base = Version(id=0, base_id=base_id, fingerprint=fingerprint, report={}, status="base")
        session.add(base)
        session.flush()
        _serve(session, 0, who="ratchet", action="start", reason="a new store serves its base")
    elif base.fingerprint != fingerprint:
        raise Problem(
            f"This store was made with the base {base.base_id} ({base.fingerprint}), not {base_id} ({fingerprint}).",
            hint="Use that base with --model, or start another store with --home.",
        )
    return base


def add_version(
    session: Session,
    *,
    parent: int,
    adapter: str,
    adapter_hash: str,
    update_id: int | None,
    dataset_hash: str | None,
    report: Mapping[str, Any],
    status: str = "candidate",
) -> Version:
    """Record a version; it does not serve yet.

    Args:
        parent: the version that it was trained from.
        adapter: its folder, relative to the store's home.
        report: whatever the gate and the training said of it.

    Raises:
        Problem: unknown parent or status.
    """
    above = known(session, Version, parent, "version")
    check_choice(status, STATUSES, "status")
    version = Version(
        parent_id=parent,
        base_id=above.base_id,
        fingerprint=above.fingerprint,
        adapter=adapter,
        adapter_hash=adapter_hash,
        update_id=update_id,
        dataset_hash=dataset_hash,
        report=dict(report),
        status=status,
    )
    session.add(version)
    session.flush()
    return version


def set_status(session: Session, version_id: int, status: str) -> Version:
    """Mark a version as candidate, canary or rejected; what serves is changed by `promote` and `rollback` alone."""
    check_choice(status, ("candidate", "canary", "rejected"), "status to set")
    version = known(session, Version, version_id, "version")
    if version_id == 0 or version_id == serving(session).id:
        raise Problem(
            f"Version {version_id} cannot become {status}: it is the base, or serves.", hint="Roll back first."
        )
    version.status = status
    return version


def serving(session: Session) -> Version:
    """The version that answers now. Problem (status 3) in a store that has no base yet."""
    pointer = session.get(Serving, 1)
    if pointer is None:
        raise Problem("No version serves: this store has no base yet.", hint="Start `ratchet serve` once.", status=3)
    return known(session, Version, pointer.version_id, "version")


def promote(session: Session, version_id: int, who: str, reason: str, *, force: bool = False) -> Audit:
    """Let a version serve from now on.

    Raises:
        Problem: unknown version; it serves already (status 3); it was rejected and `force` is not set.
    """
    version = known(session, Version, version_id, "version")
    if serving(session).id == version_id:
        raise Problem(f"Version {version_id} serves already.", status=3)
    if version.status == "rejected" and not force:
        raise Problem(
            f"Version {version_id} was rejected by the gate.", hint="Read its report; force the promotion if you must."
        )
    if version_id != 0:
        version.status = "promoted"
    return _serve(session, version_id, who=who, action="promote", reason=reason)


def promote_over(session: Session, version_id: int, over: int, who: str, reason: str) -> int:
    """Let a version serve if `over` still does, and do nothing else; returns which version serves now.

    What was found of a candidate holds beside its parent only. Looking and promoting are one transaction: writers take
    turns from their first statement on, so nobody can move the pointer in between.
    """
    present = serving(session).id
    if present != over:
        return present
    promote(session, version_id, who, reason)
    return version_id


def rollback(session: Session, who: str, reason: str = "rolled back") -> Audit:
    """Let the version serve that served before the last promotion which still stands.

    Raises:
        Problem: status 3, there is no promotion left to take back.
    """
    stack: list[int] = []
    for event in audit_trail(session):
        if event.action == "promote" and event.from_version is not None:
            stack.append(event.from_version)
        elif event.action == "rollback":
            stack.pop()
    if not stack:
        raise Problem("There is nothing to roll back: no promotion stands.", status=3)
    leaving = serving(session)
    if leaving.id != 0:
        leaving.status = "retired"
    back = known(session, Version, stack[-1], "version")
    if back.id != 0:
        back.status = "promoted"
    return _serve(session, back.id, who=who, action="rollback", reason=reason)


def list_versions(session: Session) -> list[Version]:
    """Every version, by id."""
    return list(session.scalars(select(Version).order_by(Version.id)))


def audit_trail(session: Session) -> list[Audit]:
    """Every change of what serves, the oldest first."""
    return list(session.scalars(select(Audit).order_by(Audit.id)))


def _serve(session: Session, version_id: int, *, who: str, action: str, reason: str) -> Audit:
    check_short(who, "who")
    check_text(reason, "the reason")
    pointer = session.get(Serving, 1)
    event = Audit(
        who=who,
        action=action,
        from_version=None if pointer is None else pointer.version_id,
        to_version=version_id,
        reason=reason,
    )
    if pointer is None:
        session.add(Serving(id=1, version_id=version_id))
    else:
        pointer.version_id = version_id
    session.add(event)
    session.flush()
    return event
