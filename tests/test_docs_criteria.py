"""docs/criteria.md: its table against the registry, its commands run, its example as an installed package."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from pages import Block, blocks, missing_links, read, run_apart
from resnet8 import resnet8
from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.criteria import CRITERIA
from prunecli.criteria.listing import renewed
from prunecli.criteria.registry import ENTRY_POINT_GROUP
from prunecli.data import open_data

PAGE = "docs/criteria.md"
EXAMPLE = blocks(PAGE, "python")[0]
SHELL = blocks(PAGE, "sh")


def test_the_table_is_the_registry() -> None:
    assert renewed(read(PAGE)) == read(PAGE), f"python -m prunecli.criteria.listing --write {PAGE}"


def test_every_criterion_has_its_formula() -> None:
    section = read(PAGE).partition("## What each computes")[2].partition("**Loss.**")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)} == set(CRITERIA)


def test_linked_files_exist() -> None:
    assert not missing_links(PAGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("criteria")
    torch.save(resnet8().state_dict(), folder / "model.pth")
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip makes of the page's two files, without its build in an environment of its own."""
    place = tmp_path_factory.mktemp("installed")
    (place / str(EXAMPLE.file)).write_text(EXAMPLE.code, encoding="utf-8")
    (toml,) = (block.code for block in blocks(PAGE, "toml"))
    name, version = (re.search(rf'^{key} = "(.*)"$', toml, flags=re.MULTILINE) for key in ("name", "version"))
    assert name is not None
    assert version is not None
    head, points = re.split(r'^\[project\.entry-points\."(.*)"\]$', toml, flags=re.MULTILINE)[1:]
    assert head == ENTRY_POINT_GROUP
    info = place / f"{name[1].replace('-', '_')}-{version[1]}.dist-info"
    info.mkdir()
    facts = f"Metadata-Version: 2.1\nName: {name[1]}\nVersion: {version[1]}\n"
    (info / "METADATA").write_text(facts, encoding="utf-8")
    listed = f"[{head}]\n" + points.replace('"', "")
    (info / "entry_points.txt").write_text(listed, encoding="utf-8")
    return place


def commands(block: Block) -> list[list[str]]:
    return [shlex.split(line) for line in block.code.splitlines()]


@pytest.mark.parametrize("command", commands(SHELL[0]), ids=" ".join)
def test_commands_run(command: list[str], folder: Path) -> None:
    done = run_apart([*command, "--samples", "4", "--force"], folder)
    assert done.returncode == 0, done.stderr


def test_the_example_is_known_once_it_is_installed(folder: Path, package: Path) -> None:
    scored, pruned = commands(SHELL[1])
    missing = run_apart(scored, folder)
    assert missing.returncode == 2
    assert "unknown criterion 'snip'" in missing.stderr
    shown = run_apart(scored, folder, package)
    assert shown.returncode == 0, shown.stderr
    assert "snip   reduce sum, normalize mean, loss cross-entropy" in shown.stdout
    assert "rank correlation inside groups" in shown.stdout
    done = run_apart(pruned, folder, package)
    assert done.returncode == 0, done.stderr
    assert (folder / "snipped.safetensors").exists()
    listed = run_apart(["prune", "ls", "criteria"], folder, package)
    assert "Lee et al. 2019 (SNIP)" in listed.stdout
    without = run_apart(["prune", "score", "model.pth", "--criterion", "snip"], folder, package)
    assert without.returncode == 2
    assert "criterion 'snip' needs data" in without.stderr


def test_the_example_computes_what_it_says(folder: Path, package: Path) -> None:
    command = commands(SHELL[1])[0][:-1]
    done = run_apart([*command, "-q", "--normalize", "none"], folder, package)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = [float(row[3]) for row in rows if row[0] == "layer1.0.conv1" and row[2] == "snip"]
    torch.testing.assert_close(torch.tensor(found), by_hand().float(), rtol=1e-4, atol=0)


def by_hand() -> Tensor:
    """Sum of abs(w g) over all that a channel inside the first block owns, in a plain loop in float64."""
    network = resnet8().double()
    samples = open_data("digits", (InputSpec(None, "float32", (1, 3, 32, 32)),), samples=16, seed=0)
    total = torch.zeros((), dtype=torch.float64)
    for chunk in samples.chunks(1):
        outputs = chunk.inputs.cast(torch.float64).run(network)
        total = total + nn.functional.cross_entropy(outputs, chunk.labels)
    (total / 16).backward()
    block = {}
    for name, parameter in network.get_submodule("layer1.0").named_parameters():
        assert parameter.grad is not None
        block[name] = (parameter * parameter.grad).abs().detach()
    owned = [block["conv1.weight"].sum((1, 2, 3)), block["conv2.weight"].sum((0, 2, 3))]
    return torch.stack([*owned, block["bn1.weight"], block["bn1.bias"]]).sum(0)
