"""The description of a listener's API (OpenAPI 3.1), made of the types by which it is read.

Rules:
- What a request and an answer hold comes from the dialects' structs alone; nothing is written
  twice.
- A clear PIN is a text that is written only.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from pinvault import __version__
from pinvault.edge.clear_pin import ClearPin
from pinvault.edge.dialect import Dialect, Endpoint
from pinvault.edge.problems import MEDIA_TYPE, Problem

_REFS: Final = "#/components/schemas/{name}"
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
}


def describe(served: Sequence[tuple[str, Dialect]]) -> bytes:
    """Give the document, as JSON, of dialects and the base path of each."""
    endpoints = [(base, dialect, each) for base, dialect in served for each in dialect.endpoints()]
    kinds = [kind for *_, each in endpoints for kind in _kinds(each)]
    schemas, components = msgspec.json.schema_components(
        kinds, schema_hook=_schema, ref_template=_REFS
    )
    by_kind = dict(zip(map(id, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for base, dialect, each in endpoints:
        operation = _operation(dialect, base + each.path, each, by_kind)
        paths.setdefault(base + each.path, {})[each.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {"title": "pinvault edge", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SCHEMES},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _operation(
    dialect: Dialect, path: str, each: Endpoint, schemas: Mapping[int, Any]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": f"{dialect.name}{path.replace('/', '_')}_{each.method.lower()}",
        "tags": [dialect.name],
        "summary": each.summary or f"{each.method} {path}",
        "responses": dict(_responses(dialect, each, schemas)),
    }
    if each.parameters:
        told["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": parameter.required,
                "schema": msgspec.json.schema(parameter.kind),
            }
            for parameter in each.parameters
        ]
    if each.request is not None:
        content = {"application/json": {"schema": schemas[id(each.request)]}}
        told["requestBody"] = {"required": True, "content": content}
    if each.authentication:
        told["security"] = [{each.authentication: []}]
    return told


def _responses(
    dialect: Dialect, each: Endpoint, schemas: Mapping[int, Any]
) -> Iterable[tuple[str, Any]]:
    """Give all statuses that there can be: those of the endpoint, and of the dialect's codes."""
    refusals = {code.status for code in dialect.codes.values()}
    for status in sorted({*each.answers, *refusals}):
        told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        kind = each.answers.get(status)
        if kind is not None:
            media_type = MEDIA_TYPE if issubclass(kind, Problem) else "application/json"
            told["content"] = {media_type: {"schema": schemas[id(kind)]}}
        yield str(status), told


def _kinds(each: Endpoint) -> list[type[msgspec.Struct]]:
    return [kind for kind in (each.request, *each.answers.values()) if kind is not None]


def _schema(kind: type[Any]) -> dict[str, Any]:
    if issubclass(kind, ClearPin):
        fewest, most = kind.LENGTHS[0], kind.LENGTHS[-1]
        pattern = f"^[0-9]{{{fewest},{most}}}$"
        return {"type": "string", "format": "password", "writeOnly": True, "pattern": pattern}
    raise NotImplementedError
