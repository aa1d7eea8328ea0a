# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of what each command prints with `--json`, made from the types it prints.

`documents()` says what each kind of document holds; the schemas follow from the dataclasses by the
rules of `jsonify.plain`: fields and derived properties by name, tuples as arrays, a board by its
name, a number that is not finite as null. The schemas lie in docs/schemas/, so that a change of a
type is seen as a change of the interface; a removed or renamed field needs a new version.

    python -m mcudeploy.report.schema docs      writes docs/schemas/*.json and docs/json.md
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from mcudeploy import api, doctor, gate, integrity
from mcudeploy.advice import Remedy
from mcudeploy.board import Board
from mcudeploy.budget import FitReport
from mcudeploy.codegen.manifest import Manifest
from mcudeploy.frontend.calibration import CalibrationRecord
from mcudeploy.frontend.evaluate import Evaluation
from mcudeploy.memory.problem import Packing
from mcudeploy.profiling import Profile
from mcudeploy.report.jsonify import DERIVED
from mcudeploy.toolchain.compare import PartComparison
from mcudeploy.verify import Verdict
from mcudeploy.zoo.claims import Row

Schema = dict[str, Any]

_SIMPLE: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},
    Path: {"type": "string"},
    bytes: {"type": "string"},
    type(None): {"type": "null"},
    Board: {"type": "string", "description": "the board's name"},
    Any: {},
}
_NAMES: Mapping[str, type] = {"PartComparison": PartComparison, "Verdict": Verdict}
"""What api.py imports for type checkers alone."""

_TEST = {
    "passed": bool,
    "verdicts": tuple[Verdict, ...],
    "skipped": tuple[tuple[str, str], ...],
    "counts_apart": int | None,
}


_NEED = {
    "options": Mapping[str, Any],
    "macs": int,
    "parameters": int,
    "ram_bytes": int,
    "flash_bytes": int,
    "regions": Mapping[str, int],
    "instructions": float | None,
}
_ARCHITECTURE = {
    "name": str,
    "family": str,
    "parameters": int,
    "macs": int,
    "options": tuple[str, ...],
}
_CANDIDATE = {
    **_NEED,
    "name": str,
    "family": str,
    "board": str,
    "fits": bool,
    "reason": str,
    "front": bool,
    "activation_bytes": int,
    "peak": str,
    "milliseconds": float | None,
    "published_top1_percent": float | None,
}
_FOUND = {**_NEED, "score": float, "accuracy": float | None}


class InFull:
    """Marks a pydantic model that is printed with all its fields where `plain` would name it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model


def documents() -> dict[str, tuple[int, str, dict[str, Any]]]:
    """Kind of document: (version, the command that prints it, its fields with their types)."""
    return {**_model_documents(), **_project_documents(), **_reference_documents()}


_Documents = dict[str, tuple[int, str, dict[str, Any]]]


def _model_documents() -> _Documents:
    return {
        "fit": (
            1,
            "mcudeploy fit",
            {
                "report": FitReport,
                "evaluation": Evaluation | None,
                "advice": tuple[Remedy, ...],
            },
        ),
        "quantize": (
            1,
            "mcudeploy quantize",
            {
                "output": Path,
                "bytes": int,
                "calibration": CalibrationRecord,
                "notes": tuple[str, ...],
                "warnings": tuple[str, ...],
                "evaluation": Evaluation | None,
            },
        ),
        "generate": (1, "mcudeploy generate", {"project": Path, "manifest": Manifest}),
    }


def _project_documents() -> _Documents:
    return {
        "build": (1, "mcudeploy build", {"build": api.Built}),
        "test": (1, "mcudeploy test", _TEST),
        "validate": (1, "mcudeploy validate", _TEST),
        "deploy": (
            1,
            "mcudeploy deploy",
            {
                "passed": bool,
                "project": Path,
                "report": FitReport,
                "evaluation": Evaluation | None,
                "build": api.Built | None,
                "test": [_TEST, None],
            },
        ),
        "profile": (
            1,
            "mcudeploy profile",
            {"profile": Profile, "compared": Profile | None},
        ),
        "check": (
            1,
            "mcudeploy check",
            {
                "passed": bool,
                "broken": tuple[str, ...],
                "changes": [tuple[gate.Change, ...], None],
                "measures": gate.Measures,
            },
        ),
        "verify": (1, "mcudeploy verify", {"integrity": integrity.Integrity}),
    }


def _reference_documents() -> _Documents:
    return {
        "boards": (1, "mcudeploy boards", {"boards": [[InFull(Board)]]}),
        "doctor": (1, "mcudeploy doctor", {"checks": tuple[doctor.Check, ...]}),
        "zoo-list": (
            1,
            "mcudeploy zoo list",
            {"architectures": [[_ARCHITECTURE]]},
        ),
        "zoo-verify": (1, "mcudeploy zoo verify", {"rows": tuple[Row, ...]}),
        "explore": (
            1,
            "mcudeploy explore",
            {
                "candidates": [[_CANDIDATE]],
                "largest": Mapping[str, Mapping[str, str | None]],
            },
        ),
        "explore-search": (1, "mcudeploy explore --search", {"found": [[_FOUND]]}),
        "pack": (1, "mcudeploy pack", {"packing": Packing, "capacity": int | None, "fits": bool}),
    }


def schema(kind: str) -> Schema:
    """The JSON Schema of one kind of document."""
    version, command, content = documents()[kind]
    definitions: dict[str, Schema] = {}
    name = f"mcudeploy.{kind}/{version}"
    head: Schema = {"schema": {"const": name}, "mcudeploy_version": {"type": "string"}}
    properties = head | {key: _of(value, definitions) for key, value in content.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": f"What `{command} --json` prints.",
        **_object(properties),
        "$defs": dict(sorted(definitions.items())),
    }


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _of(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of a type. A dict is an object, `[[x]]` an array of x, `[x, y]` either of both."""
    if isinstance(kind, dict):
        return _object({key: _of(value, definitions) for key, value in kind.items()})
    if isinstance(kind, list):
        if len(kind) == 1:
            return {"type": "array", "items": _of(kind[0][0], definitions)}
        return _any_of([_of(item, definitions) for item in kind])
    if kind is None:
        return {"type": "null"}
    if isinstance(kind, InFull):
        return _model(kind.model, definitions)
    if kind in _SIMPLE:
        return dict(_SIMPLE[kind])
    if get_origin(kind) is not None:
        return _generic(kind, definitions)
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return _model(kind, definitions)
    if is_dataclass(kind):
        return _dataclass(kind, definitions)
    raise TypeError(f"no JSON schema for {kind}")


def _generic(kind: Any, definitions: dict[str, Schema]) -> Schema:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _any_of([_of(argument, definitions) for argument in arguments])
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_of(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if origin in (tuple, list, Sequence, frozenset):
        return {"type": "array", "items": _of(arguments[0], definitions)}
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    raise TypeError(f"no JSON schema for {kind}")


def _any_of(options: list[Schema]) -> Schema:
    return {"anyOf": options}


def _dataclass(kind: Any, definitions: dict[str, Schema]) -> Schema:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # so that a type that holds itself ends
        hints = get_type_hints(kind, localns=dict(_NAMES))
        members = {field.name: hints[field.name] for field in fields(kind)}
        for derived in DERIVED:
            found = getattr(kind, derived, None)
            if isinstance(found, property):
                members[derived] = get_type_hints(found.fget, localns=dict(_NAMES))["return"]
        definitions[name] = {
            "description": inspect.cleandoc(kind.__doc__ or ""),
            **_object({key: _of(member, definitions) for key, member in members.items()}),
        }
    return {"$ref": f"#/$defs/{name}"}


def _model(kind: type[BaseModel], definitions: dict[str, Schema]) -> Schema:
    made = kind.model_json_schema(
        mode="serialization", by_alias=True, ref_template="#/$defs/{model}"
    )
    definitions.update(made.pop("$defs", {}))
    definitions[kind.__name__] = made
    return {"$ref": f"#/$defs/{kind.__name__}"}


# --- docs/json.md ---------------------------------------------------------------------------------

_INTRODUCTION = """\
# JSON

Every command prints one JSON object and nothing else on standard output when it is given `--json`.
A failure (exit code 2) prints no JSON, but its message on standard error. `schema` names the kind
and the version of the document: within a version no field is renamed or removed, but some may be
added. Bytes are integers. A number that is not finite is null.

This page is made by `python -m mcudeploy.report.schema docs` from the types that the commands
print; the schemas (JSON Schema 2020-12) are in `docs/schemas/`, and a test holds every command's
real output to them.
"""


def reference() -> str:
    """The text of docs/json.md."""
    parts = [_INTRODUCTION]
    definitions: dict[str, Schema] = {}
    for kind in documents():
        made = schema(kind)
        definitions |= made["$defs"]
        parts.append(f"## {documents()[kind][1]}\n\n[Schema](schemas/{kind}.json)\n")
        parts.append(_table(made))
    parts.append("## Types\n")
    for name, made in sorted(definitions.items()):
        parts.append(f"### {name}\n\n{made.get('description', '')}\n")
        parts.append(_table(made))
    return "\n".join(parts)


def _table(made: Schema) -> str:
    rows = "\n".join(
        f"| `{key}` | {_words(value)} |" for key, value in made.get("properties", {}).items()
    )
    return f"| field | type |\n|---|---|\n{rows}\n"


def _words(made: Schema) -> str:
    """A schema in a few words."""
    if "$ref" in made:
        name = made["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in made:
        return " or ".join(_words(option) for option in made["anyOf"])
    if "const" in made:
        return f"`{made['const']}`"
    if "enum" in made:
        return " or ".join(f"`{value}`" for value in made["enum"])
    if "prefixItems" in made:
        return "array of " + ", ".join(_words(item) for item in made["prefixItems"])
    if made.get("type") == "array":
        return f"array of {_words(made['items'])}"
    if "properties" in made:
        return "object of " + ", ".join(f"`{key}`" for key in made["properties"])
    if isinstance(made.get("additionalProperties"), dict):
        return f"object: name to {_words(made['additionalProperties'])}"
    found = made.get("type", "anything")
    return "number" if isinstance(found, list) else typing.cast(str, found)


def files() -> dict[str, str]:
    """Path under docs/ to text, of everything that is made here."""
    made = {
        f"schemas/{kind}.json": json.dumps(schema(kind), indent=1) + "\n" for kind in documents()
    }
    return made | {"json.md": reference()}


def main() -> None:
    """Write the files into the folder that the first argument names."""
    for name, text in files().items():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
