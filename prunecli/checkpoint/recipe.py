"""The recipe: how to rebuild a pruned network around the tensors of its file.

It travels as JSON in the metadata of the file and is untrusted when read: :meth:`Recipe.from_json` accepts
exactly what :meth:`Recipe.to_json` writes and nothing else. It names things (an architecture, attributes,
sizes); whether those may be built or set is decided where they are used (:mod:`prunecli.loading`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prunecli.checkpoint.specs import InputSpec, Scalar, checked_inputs
from prunecli.checkpoint.validation import (
    Fields,
    argument,
    digest,
    integer,
    list_of,
    mapping_of,
    option,
    scalar,
    shape,
    text,
)
from prunecli.errors import InputError
from prunecli.plan import Plan

VERSION = "prunecli.recipe/1"
MAX_ARGUMENTS = 100
MAX_CHANGES = 100


@dataclass(frozen=True)
class AttributePatch:
    """``module.attribute`` (element ``index`` of it, if it is a tuple) is ``value`` in the pruned network."""

    module: str
    attribute: str
    index: int | None
    value: int

    def to_json(self) -> dict[str, Any]:
        return {"module": self.module, "attribute": self.attribute, "index": self.index, "value": self.value}

    @staticmethod
    def from_json(data: object, where: str) -> AttributePatch:
        fields = Fields(data, where, ("module", "attribute", "index", "value"))
        module, attribute = fields.take("module", text), fields.take("attribute", text)
        parts = module.split(".") if module else []
        if attribute.startswith("_") or not attribute.isidentifier() or any(p.startswith("_") for p in parts):
            raise InputError(
                f"refused recipe: {where} sets '{module[:120]}.{attribute[:120]}', which is not a public name"
            )
        index = fields.take("index", lambda value, at: None if value is None else integer(value, at))
        return AttributePatch(module, attribute, index, fields.take("value", integer))


@dataclass(frozen=True)
class Recipe:
    """Everything :func:`prunecli.load` needs besides the tensors.

    ``arch`` and ``arguments`` rebuild the dense network; ``shapes`` (per parameter and buffer) and
    ``patches`` say what is different in the pruned one. ``digests`` are those of the tensors in the file,
    ``cut_digests`` those right after the cut; they differ where ``changed_by`` names what changed weights
    since. ``source_digest`` is the SHA-256 of the dense file.
    """

    arch: str
    arguments: Mapping[str, Scalar]
    inputs: tuple[InputSpec, ...]
    shapes: Mapping[str, tuple[int, ...]]
    patches: tuple[AttributePatch, ...]
    plan: Plan
    digests: Mapping[str, str]
    cut_digests: Mapping[str, str]
    changed_by: tuple[str, ...] = ()
    source_digest: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str = VERSION

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "arch": self.arch,
            "arguments": dict(self.arguments),
            "inputs": [spec.to_json() for spec in self.inputs],
            "shapes": {name: list(size) for name, size in self.shapes.items()},
            "patches": [patch.to_json() for patch in self.patches],
            "plan": self.plan.to_json(),
            "digests": dict(self.digests),
            "cut_digests": dict(self.cut_digests),
            "changed_by": list(self.changed_by),
            "source_digest": self.source_digest,
            "options": dict(self.options),
        }

    @staticmethod
    def from_json(data: object) -> Recipe:
        """Check and build. Raises ``InputError`` naming the first field that this tool would not write."""
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            found = repr(version[:60]) if isinstance(version, str) else type(version).__name__
            raise InputError(f"recipe version {found} is not '{VERSION}'", "update prunecli")
        fields = Fields(data, "recipe", tuple(Recipe.__dataclass_fields__))
        return Recipe(
            arch=fields.take("arch", text),
            arguments=fields.take("arguments", mapping_of(scalar, argument, MAX_ARGUMENTS)),
            inputs=fields.take("inputs", checked_inputs),
            shapes=fields.take("shapes", mapping_of(shape)),
            patches=fields.take("patches", list_of(AttributePatch.from_json)),
            plan=fields.take("plan", _plan),
            digests=fields.take("digests", mapping_of(digest)),
            cut_digests=fields.take("cut_digests", mapping_of(digest)),
            changed_by=fields.take("changed_by", list_of(text, MAX_CHANGES)),
            source_digest=fields.take(
                "source_digest", lambda value, at: "" if value == "" else digest(value, at)
            ),
            options=fields.take("options", mapping_of(option)),
        )


def _plan(value: object, where: str) -> Plan:
    """Exactly what :meth:`Plan.to_json` writes; a file given as ``--plan`` may have more around it."""

    def group(entry: object, at: str) -> None:
        Fields(entry, at, ("dense", "kept")).take("dense", integer)

    Fields(value, where, ("groups",)).take("groups", mapping_of(group))
    return Plan.from_json(value)
