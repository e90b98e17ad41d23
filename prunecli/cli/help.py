"""``--help`` without rich, which alone would take longer to import than help may take."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _write_panels(parameters: list[Any], context: Any, formatter: Any) -> None:
    """Parameters under the heading of their panel, in order of first appearance."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is None:
            continue
        default = "Arguments" if parameter.param_type_name == "argument" else "Options"
        heading = getattr(parameter, "rich_help_panel", None) or default
        panels.setdefault(heading, []).append(record)
    for heading in sorted(panels, key=lambda name: (name == "Options", name != "Arguments")):
        with formatter.section(heading):
            formatter.write_dl(panels[heading], col_max=34)


class Command(TyperCommand):
    """A command whose options are printed panel by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """The ``prune`` command itself: what it can do first, its few options after."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_panels(self.get_params(ctx), ctx, formatter)
