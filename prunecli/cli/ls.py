"""``prune ls``: the names other options take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from prunecli.cli import names, output
from prunecli.cli.options import Json


def ls(
    what: Annotated[str, typer.Argument(metavar="|".join(names.LISTS), help="Which names to list.")],
    json: Json = False,
) -> None:
    """List criteria, schemes, regularizers, presets or networks."""
    names.require_known("list", what, names.LISTS)
    rows = _ROWS[what]()
    if json:
        output.document({"schema": "prunecli.ls/1", "what": what, "entries": rows})
        return
    from prunecli.report.terminal import listing

    output.show(listing(rows))


def _networks() -> list[dict[str, str]]:
    from prunecli.networks import listed
    from prunecli.networks.listing import of_timm

    return [{"name": name} for name in dict.fromkeys((*listed(), *of_timm()))]


def _criteria() -> list[dict[str, str]]:
    from prunecli.criteria import criteria
    from prunecli.criteria.listing import needs_in_words

    return [
        {"name": name, "summary": one.summary, "needs": needs_in_words(one), "source": one.source}
        for name, one in sorted(criteria().items())
    ]


def _schemes() -> list[dict[str, str]]:
    from prunecli.selection import SCHEMES

    return [
        {"name": name, "summary": one.summary, "source": one.source} for name, one in sorted(SCHEMES.items())
    ]


def _regularizers() -> list[dict[str, str]]:
    from prunecli.regularizers import regularizers

    return [
        {
            "name": name, "summary": one.summary, "source": one.source,
            "--sparsify-arg": ", ".join(f"{number} {value:g}" for number, value in one.defaults.items()),
        }
        for name, one in sorted(regularizers().items())
    ]  # fmt: skip


def _presets() -> list[dict[str, str]]:
    from prunecli.presets import PRESETS

    return [
        {"name": name, "summary": one.summary, "source": one.source} for name, one in sorted(PRESETS.items())
    ]


_ROWS: dict[str, Callable[[], list[dict[str, str]]]] = {
    "criteria": _criteria,
    "schemes": _schemes,
    "regularizers": _regularizers,
    "presets": _presets,
    "networks": _networks,
}
