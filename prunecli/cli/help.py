"""``--help`` without rich, which alone would take longer to import than help may take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from prunecli.cli import early
from prunecli.cli.examples import EXAMPLES

EXIT_CODES = (
    "Exit codes: 0 done, 2 wrong usage, 3 input rejected, 4 not possible as asked or a check failed, "
    "5 output not written, 130 interrupted."
)


def _write_panels(parameters: list[Any], formatter: Any, first: Iterable[tuple[str, str]] = ()) -> None:
    """Parameters under the heading of their panel, in order of first appearance; ``first`` among the
    options.
    """
    panels: dict[str, list[tuple[str, str]]] = {"Options": list(first)}
    for parameter in parameters:
        default = "Arguments" if parameter.param_type_name == "argument" else "Options"
        heading = getattr(parameter, "rich_help_panel", None) or default
        panels.setdefault(heading, []).append(_record(parameter))
    for heading in sorted(panels, key=lambda name: (name == "Options", name != "Arguments")):
        with formatter.section(heading):
            formatter.write_dl(panels[heading], col_max=34)


def _record(parameter: Any) -> tuple[str, str]:
    """What to type and what it means. Not Typer's wording, which differs between releases."""
    if parameter.param_type_name == "argument":
        return parameter.metavar, parameter.help
    spelled = ", ".join(sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return spelled, parameter.help
    shown = parameter.default is not None and not parameter.multiple and not callable(parameter.default)
    default = f" [default: {parameter.default}]" if shown else ""
    return f"{spelled} {parameter.metavar}", parameter.help + default


class Command(TyperCommand):
    """A command whose help has examples first, then the options panel by panel."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``CKPT [OPTIONS]``: what must be there first."""
        places = [str(p.metavar) for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return [*places, "[OPTIONS]"]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        super().format_help_text(ctx, formatter)
        lines = EXAMPLES.get(self.name or "", ())
        if lines:
            with formatter.section("Examples"):
                formatter.write("".join(f"{' ' * formatter.current_indent}{line}\n" for line in lines))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self.get_params(ctx), formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write_paragraph()
        formatter.write_text(EXIT_CODES)


class Group(TyperGroup):
    """The ``prune`` command itself: what it can do first, its few options after."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        own = [(f"{', '.join(o.spellings)} {o.value}".rstrip(), o.help) for o in early.OPTIONS]
        _write_panels(self.get_params(ctx), formatter, own)
