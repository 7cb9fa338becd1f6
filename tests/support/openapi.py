"""Calls an API as its own description says that it can be called, well and badly."""

import contextlib
from typing import Any

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.specs.openapi.definitions import OPENAPI_31


def is_well_formed(document: dict[str, Any]) -> bool:
    """Tell whether a document is OpenAPI 3.1, by the schema of its authors."""
    return jsonschema_rs.is_valid(OPENAPI_31, document)


def call_all(app: Any, *, headers: dict[str, str] | None = None, examples: int = 20) -> int:
    """Call every operation with what fits its description and what does not; give their number.

    Every answer is one that the description has. What fits may be refused: there is no such card.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        _call(operation.as_strategy(), headers or {}, examples)
        with contextlib.suppress(Unsatisfiable):  # of some, nothing can be wrong
            wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            _call(wrong, headers or {}, examples)
    return len(operations)


def _call(cases: Any, headers: dict[str, str], examples: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]

    @settings(max_examples=examples, database=None, suppress_health_check=checks)
    @given(case=cases)
    def run(case: Any) -> None:
        excluded = [positive_data_acceptance]
        if not _has_wrong_body(case):
            # The headers given here put back what was taken away, and of a query what is not known
            # is passed over.
            excluded.append(negative_data_rejection)
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    run()


def _has_wrong_body(case: Any) -> bool:
    body = case.meta.components.get(ParameterLocation.BODY)
    return body is not None and body.mode.is_negative
