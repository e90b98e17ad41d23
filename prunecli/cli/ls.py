"""``prune ls``: the names other options take."""

from __future__ import annotations

from typing import Annotated

import typer

from prunecli.cli import names, output
from prunecli.cli.options import Json


def ls(
    what: Annotated[str, typer.Argument(metavar="|".join(names.LISTS), help="Which names to list.")],
    json: Json = False,
) -> None:
    """List criteria, schemes or networks."""
    names.require_known("list", what, names.LISTS)
    rows = _networks() if what == "networks" else _methods(what)
    if json:
        output.document({"schema": "prunecli.ls/1", "what": what, "entries": rows})
        return
    from prunecli.report.terminal import listing

    output.show(listing(rows))


def _networks() -> list[dict[str, str]]:
    from prunecli.networks import listed

    return [{"name": name} for name in listed()]


def _methods(what: str) -> list[dict[str, str]]:
    from prunecli.criteria import criteria
    from prunecli.selection import SCHEMES

    chosen = criteria() if what == "criteria" else SCHEMES
    return [
        {"name": name, "summary": chosen[name].summary, "source": chosen[name].source}
        for name in sorted(chosen)
    ]
