"""Requests drawn from the description of the API, of its form and not: every answer is one that the description tells, and none is a fault."""

from collections import Counter

import pytest

pytest.importorskip("ray")
schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import NAME, LocalPipeline, served

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
DRAWN = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.fixture(scope="module")
def description(stories):
    with served(LocalPipeline(stories)) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_one_that_the_description_tells(description, mode):
    seen = Counter()
    for found in description.get_all_operations():
        # Where there is no body nothing can be of another form.
        if mode == GenerationMode.POSITIVE or found.ok().body:
            asks(found.ok(), mode, seen)
    print(dict(seen))
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert seen[path, 400] if mode == GenerationMode.NEGATIVE else seen[path, 200] and seen[path, 404]


def asks(operation, mode, seen):
    @given(case=operation.as_strategy(generation_mode=mode))
    @DRAWN
    def one(case):
        seen[operation.path] += 1
        if isinstance(case.body, dict) and seen[operation.path] % 4:
            # A name drawn at random would never be the model's; and an answer must end.
            case.body["model"] = NAME
            case.body["max_tokens"] = 2
        response = case.call(timeout=60)
        case.validate_response(response, checks=CHECKS)
        seen[operation.path, response.status_code] += 1

    one()
