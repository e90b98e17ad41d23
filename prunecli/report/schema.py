"""JSON Schema of the documents, derived from the dataclasses so that the two cannot disagree.

``python -m prunecli.report.schema --write docs/report.schema.json`` writes the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from prunecli.report.differences import Difference
from prunecli.report.measured import Evaluation
from prunecli.report.model import Explanation, Inspection, Report, Verification
from prunecli.report.scored import Scoring
from prunecli.report.trained import Finetuning

_SCALARS: dict[object, str] = {str: "string", int: "integer", bool: "boolean", NoneType: "null"}


def json_schema() -> dict[str, Any]:
    """One schema that admits all documents, told apart by their ``schema`` field."""
    definitions: dict[str, Any] = {}
    documents = [
        _schema_of(document, definitions)
        for document in (
            Report,
            Inspection,
            Explanation,
            Verification,
            Evaluation,
            Scoring,
            Finetuning,
            Difference,
        )
    ]
    definitions["Verification"]["properties"]["passed"] = {"type": "boolean"}
    definitions["Verification"]["required"].append("passed")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Documents of prunecli: report, inspection, explanation, verification, evaluation, "
        "scoring, finetuning, difference",
        "oneOf": documents,
        "$defs": definitions,
    }


def _schema_of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind is float:
        # A measurement that was not finite is written as null.
        return {"type": ["number", "null"]}
    if is_dataclass(kind):
        return _reference(kind, definitions)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema_of(argument, definitions) for argument in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0], definitions)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], definitions)}
    raise TypeError(f"no JSON Schema for {kind}")


def _reference(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """``kind`` as a definition of its own. Fields may be added within a version, so others are allowed."""
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}
        types = get_type_hints(kind)
        definitions[name] = {
            "type": "object",
            "description": " ".join((kind.__doc__ or "").split("\n\n")[0].replace("``", "").split()),
            "properties": {item.name: _schema_of(types[item.name], definitions) for item in fields(kind)},
            "required": [item.name for item in fields(kind)],
        }
    return {"$ref": f"#/$defs/{name}"}


def written() -> str:
    """The content of ``docs/report.schema.json``."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--write":
        sys.exit("usage: python -m prunecli.report.schema --write FILE")
    Path(sys.argv[2]).write_text(written(), encoding="utf-8")
