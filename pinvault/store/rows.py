"""Rows as frozen dataclasses, whose fields are named as the columns are."""

from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Column, CursorResult, Table

RowT = TypeVar("RowT")


def columns(table: Table, kind: type[Any]) -> list[Column[Any]]:
    """Give the columns that a dataclass has fields for."""
    return [table.c[field.name] for field in fields(kind)]


def one(result: CursorResult[Any], kind: type[RowT]) -> RowT | None:
    """Read the row, if there is one; there are never two."""
    row = result.mappings().one_or_none()
    return None if row is None else kind(**row)


def every(result: CursorResult[Any], kind: type[RowT]) -> tuple[RowT, ...]:
    """Read all rows."""
    return tuple(kind(**row) for row in result.mappings())
