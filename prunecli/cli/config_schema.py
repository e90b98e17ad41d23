"""``docs/prune.schema.json``: a JSON Schema of ``prune.toml`` for editors, generated from the commands.

``python -m prunecli.cli.config_schema --write docs/prune.schema.json`` writes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunecli.cli import config
from prunecli.cli.keys import Key, keys_of
from prunecli.cli.values import values_of

Schema = dict[str, Any]
_PLAIN: Mapping[type, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
}
_SINGLE: Schema = {"type": ["string", "number", "boolean"]}


def schema(command: Any) -> Schema:
    """For ``command``, the Typer group."""
    from prunecli.cli.jobs import Configured

    known = {name: keys_of(one) for name, one in command.commands.items() if isinstance(one, Configured)}
    tables = {name: _table(name, keys) for name, keys in known.items()}
    top = {name: _value(key) for keys in reversed(known.values()) for name, key in keys.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prune.toml",
        "description": "Options of prune, at the top for all jobs, and in a table for each single one.",
        "type": "object",
        "properties": {
            **dict(sorted(top.items())),
            config.TABLE: {
                "type": "object",
                "propertyNames": {"pattern": f"^{config.NAMES.pattern}$", "not": {"const": config.ALL}},
                "additionalProperties": _by_command(list(tables)),
            },
        },
        "additionalProperties": False,
        "$defs": tables,
    }


def _by_command(names: list[str]) -> Schema:
    """A job is for the command that it names, and for the first one of ``config`` without a name."""
    return {
        "type": "object",
        "properties": {config.COMMAND: {"enum": names}},
        "allOf": [
            {
                "if": {
                    "properties": {config.COMMAND: {"const": name}},
                    "required": [] if name == config.USUAL else [config.COMMAND],
                },
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in names
        ],
    }


def _table(name: str, keys: Mapping[str, Key]) -> Schema:
    own = {key: _value(one) for key, one in keys.items() if key not in config.FOR_ALL}
    return {
        "type": "object",
        "properties": {config.COMMAND: {"const": name}, **own},
        "additionalProperties": False,
    }


def _value(key: Key) -> Schema:
    single = {"type": ["string", "number"]} if key.takes_amount else dict(_PLAIN[key.kind])
    names = values_of(f"--{key.name}")
    if names and not key.takes_numbers:
        # Names of other packages are as good, so an editor offers these and takes any.
        single = {"anyOf": [{"enum": list(names)}, single]}
    several = {"type": "array", "items": single}
    if key.takes_table:
        pairs = {**_SINGLE, "items": _SINGLE, "type": [*_SINGLE["type"], "array"]}
        single = {"anyOf": [single, several, {"type": "object", "additionalProperties": pairs}]}
    elif key.many:
        single = {"anyOf": [single, several]}
    elif key.takes_numbers:
        single = {
            "anyOf": [single, {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1}]
        }
    return {"description": key.help, **single}


def written() -> str:
    """The content of ``docs/prune.schema.json``."""
    from prunecli.cli.app import command

    return json.dumps(schema(command()), indent=2) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "--write":
        sys.exit("usage: python -m prunecli.cli.config_schema --write FILE")
    Path(sys.argv[2]).write_text(written(), encoding="utf-8")
