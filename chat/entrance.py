"""The page's entrance where keys are required: a form that asks for a key once, and the cookie that then stands for it.

The cookie holds the key's page token (`store/keys.py`), not a random number of a session: nothing is kept for it, so it
outlives a restart and holds on every server of a store, and it ends when the key does. A thief of the cookie has the
page, not the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from chat.doors import Doors
from chat.keyring import Keyring
from chat.pace import Pace, TooFast
from store.keys import page_token

COOKIE = "ratchet_page"
DAYS = 30  # after which a browser asks for the key again
TRIES = 10  # keys that one address may enter in a minute
FIELDS = 10  # of a form, at most; there is one

# In the colours of the page (chat/style.py), which cannot be asked for them before Gradio is imported.
STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #22211f; --soft: #6f6c66; --line: #e4e1db; --accent: #2b6a5b;
  --on-accent: #fff; --wrong: #a4322a; }
@media (prefers-color-scheme: dark) { :root { --paper: #191918; --ink: #e9e7e2; --soft: #9b978f; --line: #34332f;
  --accent: #7cc4ae; --on-accent: #10201b; --wrong: #f0938a; } }
body { font: 16px/1.6 system-ui, sans-serif; background: var(--paper); color: var(--ink); max-width: 22rem;
  margin: 22vh auto 0; padding: 0 1rem; }
h1 { font-size: 1.4rem; } p { color: var(--soft); font-size: .9rem; } [role=alert] { color: var(--wrong); }
input, button { font: inherit; color: inherit; box-sizing: border-box; width: 100%; padding: .55rem .8rem;
  border: 1px solid var(--line); border-radius: 12px; background: transparent; margin-top: .4rem; }
button { background: var(--accent); color: var(--on-accent); border: 0; margin-top: .7rem; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
"""


def form(title: str, said: str = "", *, status: int, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """The form, above it what was wrong with the last key; it asks nothing of other sites and runs no script."""
    alert = f'<p role="alert">{escape(said)}</p>' if said else ""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>{escape(title)}</h1>{alert}<form method="post" action="/enter">'
        '<label for="key">Your key</label><input id="key" name="key" type="password" required autofocus '
        'autocomplete="current-password" placeholder="rk-…"><button>Enter</button></form>'
        "<p>Whoever runs this chat gives out keys.</p></body></html>"
    )
    return HTMLResponse(page, status, {"Cache-Control": "no-store", **(headers or {})})


def entrance_router(keyring: Keyring, title: str, doors: Doors) -> APIRouter:
    """The routes of /enter and /logout; `doors` tells the addresses apart that try keys."""
    router = APIRouter(include_in_schema=False)
    pace = Pace(TRIES)

    @router.get("/enter")
    async def show() -> Response:
        return form(title, status=200)

    @router.post("/enter")
    async def enter(request: Request) -> Response:
        try:
            pace.step(doors.of(request))
        except TooFast as fast:
            said = f"Too many keys were tried from your address. Try again in {fast.wait} s."
            return form(title, said, status=429, headers={"Retry-After": str(fast.wait)})
        secret = _key_in(await request.body())
        grant = await keyring.of_key(secret)
        if grant is None:
            return form(title, "This key is unknown or revoked.", status=401, headers={"WWW-Authenticate": "Bearer"})
        if not grant.allows("chat"):
            return form(title, "This key lacks the scope chat.", status=403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE,
            page_token(secret),
            max_age=DAYS * 24 * 3600,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.get("/logout")
    async def leave() -> Response:
        answer = RedirectResponse("/enter", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
        return answer

    return router


def _key_in(body: bytes) -> str:
    """The field `key` of a form as browsers send it; empty when there is none."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=FIELDS)
    except ValueError:  # not ASCII, or too many fields: no form of ours
        return ""
    return fields.get("key", [""])[0].strip()
