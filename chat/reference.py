"""What the API says of itself: its description for programs, and the page /docs made of it.

The page is one file that asks nothing of other sites.
"""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from chat.shapes import Error
from chat.trace import HEADER

FAILURES = {
    400: "The request cannot be answered as it stands; `param` names the field",
    401: "Who asks is not known",
    403: "Not from here, or not by them",
    404: "There is no such thing",
    405: "The route has other methods",
    413: "The request is too large",
    429: "Too many; Retry-After says when to come back",
    500: "The server failed; its log says why",
    503: "Not now; Retry-After says when to come back",
}
RETRY = {429, 503}

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 2.2rem 0 .2rem; font-weight: 600; }
code, pre { font: .88em ui-monospace, monospace; } p { margin: .2rem 0 .6rem; opacity: .8; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td { border-top: 1px solid #8883; padding: .35rem .8rem .35rem 0; vertical-align: top; }
td:last-child { opacity: .7; }
b { font-weight: 600; display: inline-block; min-width: 4rem; }
"""


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the routes so far, with what every one of them may answer besides 200.

    FastAPI's own 422 is left out: a request of the wrong shape is answered with 400, as OpenAI does.
    """
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description="OpenAI's chat completions, and ratings of the answers.",
        routes=app.routes,
    )
    schemas = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    described = Error.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= described.pop("$defs") | {"Error": described}
    for route in (route for methods in schema["paths"].values() for route in methods.values()):
        answers = route["responses"]
        answers.pop("422", None)
        for status, why in FAILURES.items():
            answers.setdefault(str(status), _failure(why))
            if status in RETRY:
                answers[str(status)].setdefault("headers", {})["Retry-After"] = {
                    "description": "Seconds",
                    "schema": {"type": "integer", "minimum": 1},
                }
        for answer in answers.values():
            answer.setdefault("headers", {})[HEADER] = {
                "description": "By which the server's log knows this call",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
            }
    return schema


def _failure(why: str) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}


def reference_page(schema: dict[str, Any]) -> str:
    """An HTML page of an OpenAPI description: routes, their parameters and the fields of their bodies."""
    sections = [
        _section(schema, method, path, route)
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    ]
    title = escape(schema["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{title}: API</h1><p>OpenAI's clients work here with <code>base_url</code> set to this address and "
        f'<code>/v1</code>. The description for programs is <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(sections)}</body></html>"
    )


def _section(schema: dict[str, Any], method: str, path: str, route: dict[str, Any]) -> str:
    rows = [(p["name"], p.get("schema", {}), p.get("required", False)) for p in route.get("parameters", [])]
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    described = _resolve(schema, body)
    required = described.get("required", [])
    rows += [(name, field, name in required) for name, field in described.get("properties", {}).items()]
    table = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(field))}</td>"
        f"<td>{'required' if must else escape(_default(field))}</td></tr>"
        for name, field, must in rows
    )
    return f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2><p>{escape(route.get('summary', ''))}</p>" + (
        f"<table>{table}</table>" if table else ""
    )


def _resolve(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    name = field.get("$ref", "").rpartition("/")[2]
    return dict(schema["components"]["schemas"][name]) if name else field


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(kind for each in field["anyOf"] if (kind := _kind(each)) != "null")
    if "$ref" in field:
        return str(field["$ref"].rpartition("/")[2])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type", "anything"))


def _default(field: dict[str, Any]) -> str:
    return "" if field.get("default") is None else f"default {field['default']}"
