# SPDX-License-Identifier: Apache-2.0
"""The JSON of every command: one object, `schema` naming its kind and version.

Values are the public dataclasses field by field, plus their derived verdicts; bytes are integers,
tuples are arrays, a number that is not finite is null. A field is never renamed or removed within a
schema version; docs/schemas/ has the schemas.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from mcudeploy import __version__
from mcudeploy.board import Board

DERIVED = (
    "fits", "verdict", "used_bytes", "margin_bytes", "gap_bytes", "passed", "constant_output",
)  # fmt: skip
"""Properties that belong into the JSON beside the fields."""


def plain(value: Any) -> Any:
    """A value made of dictionaries, lists, strings and numbers alone."""
    if isinstance(value, Board):
        return value.name
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        record = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        for name in DERIVED:
            if isinstance(getattr(type(value), name, None), property):
                record[name] = plain(getattr(value, name))
        return record
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def document(kind: str, version: int = 1, **content: Any) -> str:
    """The JSON text of one command's result."""
    head = {"schema": f"mcudeploy.{kind}/{version}", "mcudeploy_version": __version__}
    return json.dumps(
        {**head, **{k: plain(v) for k, v in content.items()}}, indent=2, allow_nan=False
    )
