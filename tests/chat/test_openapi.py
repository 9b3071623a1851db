"""The API keeps to its own description, whatever is asked of it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    allow_header_conformance,
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from .conftest import Running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    unsupported_method,
]
QUIETLY = settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
LONGEST = 4  # tokens an answer may have here: what is looked at is its shape


ROUTES = [
    ("post", "/v1/chat/completions"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{model}"),
    ("post", "/v1/feedback"),
    ("get", "/v1/feedback"),
    ("delete", "/v1/feedback"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
]


@pytest.fixture(scope="module")
def described(running: Running) -> Any:
    """The description as the server gives it."""
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def test_every_route_tells_what_it_may_answer(described: Any) -> None:
    paths = described.raw_schema["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == set(ROUTES)
    for method, path in ROUTES:
        answers = paths[path][method]["responses"]
        assert set(answers) == {"200", "400", "401", "403", "404", "405", "413", "429", "500", "503"}
        assert all(answer["content"] for answer in answers.values())
        assert all(answers["200"]["content"].values()), "a schema"
    assert not [name for name in described.raw_schema["components"]["schemas"] if "Validation" in name]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_answers_are_as_described(described: Any, method: str, path: str) -> None:
    @QUIETLY
    @given(case=described[path][method].as_strategy())
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            for field in ("max_tokens", "max_completion_tokens"):
                if isinstance(case.body.get(field), int) and case.body[field] > LONGEST:
                    case.body[field] = LONGEST
        case.call_and_validate(checks=CHECKS)

    ask()


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[0] == "post"])
def test_wrong_requests_are_refused_as_described(described: Any, method: str, path: str) -> None:
    wrong = described[path][method].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @QUIETLY
    @given(case=wrong)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    ask()
