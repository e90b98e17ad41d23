from __future__ import annotations

import re

from cli_runner import ROOT

from prunecli.cli import reference
from prunecli.cli.app import command

PAGE = ROOT / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.written(), (
        "python -m prunecli.cli.reference --write docs/cli.md"
    )


def test_every_option_of_every_command_is_on_it() -> None:
    sections = dict(
        re.findall(r"^## (prune ?\w*)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    )
    for name, part in command().commands.items():
        for parameter in part.params:
            for spelling in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
                assert spelling in sections[f"prune {name}"]


def test_no_help_text_is_missing() -> None:
    for part in command().commands.values():
        assert part.help
        assert all(parameter.help for parameter in part.params)
