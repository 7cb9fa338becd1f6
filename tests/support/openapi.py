"""Calls an API as its own description says that it can be called, well and badly."""

import contextlib
from typing import Any

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
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

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)
    @given(case=cases)
    def run(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    run()
