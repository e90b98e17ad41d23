"""The JSON Schema of ``prune.toml``: current, and of one mind with what reads the file."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from cli_runner import ROOT
from pages import blocks
from test_cli_config import COMMANDS

from prunecli.cli import config, config_schema
from prunecli.cli.app import command
from prunecli.errors import UsageError

SCHEMA = config_schema.schema(command())


def test_the_shipped_schema_is_current() -> None:
    path = ROOT / "docs" / "prune.schema.json"
    assert path.read_text(encoding="utf-8") == config_schema.written(), (
        "python -m prunecli.cli.config_schema --write docs/prune.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


GOOD = [
    blocks("docs/config.md", "toml")[0].code,
    "",
    "speedup = 2\nignore = 'fc'\nreport = ['a.md', 'b.csv']\njson = true",
    "[job.a]\nratio-for = {'a.*' = 0.5}\narch-arg = {aux = true}\nfinetune-arg = {milestones = [1, 2]}",
    "[job.a]\ncommand = 'finetune'\nmilestones = [60, 80]",
    "[job.a]\ncriterion = 'of-another-package'",
    "max-params = 5000000\n[job.a]\nmin-accuracy = 0.97\nmax-bytes = '20MB'\nmax-latency = 12",
]
BAD = [
    "speedupp = 2",
    "speedup = '2'",
    "steps = 2.5",
    "force = 1",
    "max-params = true",
    "min-accuracy = [0.9]",
    "scheme = 3",
    "unsafe-load = true",
    "job = 3",
    "[job]\nspeedup = 2",
    "[job.all]",
    "[job.'a b']",
    "[job.a]\njson = true",
    "[job.a]\nbatch-size = 3",
    "[job.a]\ncommand = 'eval'\nspeedup = 2",
    "[job.a]\ncommand = 'ls'",
    "[job.a]\nspeedup = [2]",
    "[job.a]\nignore = [1]",
    "[job.a]\nratio-for = 0.5",
]


@pytest.mark.parametrize("text", GOOD + BAD)
def test_it_accepts_what_is_read_and_nothing_else(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prune.toml"
    path.write_text(text, encoding="utf-8")
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(config.tomllib.loads(text))
    try:
        config.read(path, COMMANDS)
    except UsageError:
        assert not valid
        assert text in BAD
    else:
        assert valid
        assert text in GOOD
