"""Generates ``index.json`` from the installed torchvision: ``python -m prunecli.networks.index --write``."""

from __future__ import annotations

import json
import sys

from prunecli.checkpoint.specs import Scalar
from prunecli.networks.building import build
from prunecli.networks.catalogue import PATH, name_digest, name_sketch
from prunecli.networks.families import FAMILIES
from prunecli.networks.torchvision_family import takes


def generate() -> str:
    """The text of ``index.json`` for the installed libraries. Builds every network once, on the meta device
    where it can be.
    """
    rows = []
    for prefix in ("torchvision", "cifar"):
        names = FAMILIES[prefix].names
        for name in names() if names is not None else ():
            for arguments in _variants(prefix, name):
                spec = f"{prefix}:{name}"
                keys = list(build(spec, arguments)[0].state_dict())
                row = {"spec": spec, "arguments": arguments}
                rows.append(json.dumps(row | {"digest": name_digest(keys), "sketch": name_sketch(keys)}))
    return '{"version": 1, "networks": [\n' + ",\n".join(rows) + "\n]}\n"


def _variants(prefix: str, name: str) -> list[dict[str, Scalar]]:
    """Networks whose parameter names depend on an argument: those with an auxiliary head."""
    if prefix != "torchvision":
        return [{}]
    head = next((argument for argument in ("aux_logits", "aux_loss") if takes(name, argument)), None)
    return [{}] if head is None else [{head: True}, {head: False}]


def main(arguments: list[str]) -> int:
    """Write the index, or report whether it is current."""
    text = generate()
    if arguments == ["--write"]:
        PATH.write_text(text, encoding="utf-8")
        return 0
    return 0 if PATH.read_text(encoding="utf-8") == text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
