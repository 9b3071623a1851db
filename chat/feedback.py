"""POST, GET and DELETE /v1/feedback: opinions on generations, by anything that speaks HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session

from chat import people
from chat.access import scope
from chat.service import Service
from chat.shapes import RatingList, RatingShape, Withdrawn
from chat.wire import Opinion
from store.checks import check_choice, known
from store.database import Store
from store.group import Group
from store.ratings import KINDS, check_value, present, rate, withdraw
from store.schema import Generation, Rating


def feedback_router(store: Store, group: Group, service: Service) -> APIRouter:
    """The routes, on this store; ratings that arrive together are committed together."""
    router = APIRouter(prefix="/v1", tags=["feedback"], dependencies=[Depends(scope("rate"))])

    @router.post(
        "/feedback",
        summary="Rate a generation; rating again replaces one's earlier opinion",
        description="A thumb that is turned takes along the tags, comment and correction that were given under it.",
        response_model=RatingShape,
    )
    async def give(body: Opinion, request: Request) -> dict[str, Any]:
        service.doors.rates(request)
        service.pace.step(people.named_in(request, body.user))
        # Before it is written together with others': where one write fails, theirs are done again.
        check_choice(body.kind, KINDS, "kind of rating")
        check_value(body.kind, body.value)

        def write(session: Session) -> dict[str, Any]:
            person = service.doors.of_call(session, request, body.user)
            rating = rate(
                session,
                generation_id=body.id,
                person_id=person.id,
                kind=body.kind,
                value=body.value,
                other=body.other,
                surface="api",
            )
            return _shape(rating)

        taken = await asyncio.wrap_future(group.submit(write))
        service.metrics.rated("api", body.kind)
        return taken

    @router.get("/feedback", summary="One's present opinions on a generation", response_model=RatingList)
    async def mine(id: str, request: Request, user: str | None = None) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            with store.session() as session:
                known(session, Generation, id, "generation")
                person = service.doors.of_call(session, request, user)
                return {"object": "list", "data": [_shape(each) for each in present(session, id, person.id)]}

        return await asyncio.to_thread(read)

    @router.delete(
        "/feedback",
        summary="Withdraw one's opinion of a kind; a thumb takes along what was given under it",
        response_model=Withdrawn,
    )
    async def take_back(
        id: str, kind: str, request: Request, other: str | None = None, user: str | None = None
    ) -> dict[str, Any]:
        def write(session: Session) -> dict[str, Any]:
            person = service.doors.of_call(session, request, user)
            withdraw(session, generation_id=id, person_id=person.id, kind=kind, other=other, surface="api")
            return {"generation": id, "kind": kind, "other": other, "withdrawn": True}

        return await asyncio.wrap_future(group.submit(write))

    return router


def _shape(rating: Rating) -> dict[str, Any]:
    return {
        "id": rating.id,
        "generation": rating.generation_id,
        "kind": rating.kind,
        "value": rating.value,
        "other": rating.other_id,
        "created": int(rating.created.timestamp()),
    }
