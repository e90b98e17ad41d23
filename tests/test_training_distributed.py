"""Several processes, with gloo, as torchrun starts them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ddp_training
import pytest
import torch
from cli_runner import ROOT, Ran
from resnet8 import same_tensors
from safetensors.torch import load_file
from torch import nn

import prunecli
from prunecli.errors import ImpossibleError, UsageError
from prunecli.training.distributed import ALONE, Team, device_of, joined
from prunecli.training.launched import Launched
from prunecli.training.state import read_state

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
Results = dict[str, Any]


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(child: subprocess.Popen[str]) -> Ran:
    try:
        out, err = child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        child.terminate()  # torchrun takes its own along
        raise
    return Ran(child.returncode, out, err)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    children = [start(*how, ddp_training.__file__, folder, folder=folder) for how in ((), TWO)]
    for child in children:
        done = finish(child)
        assert done.code == 0, done.err
    return folder


def results(folder: Path) -> tuple[Results, Results, Results]:
    one, first, second = (torch.load(folder / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    return one, first, second


def furthest(one: Results, other: Results) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("count", ddp_training.LAST)
def test_two_processes_do_what_one_does_with_the_doubled_batch(ran: Path, count: int) -> None:
    one, first, second = (found[f"trained {count}"] for found in results(ran))
    before = ddp_training.small("group", dropout=0.0).double().state_dict()
    assert furthest(before, one["network"]) > 0.1
    for part in ("network", "average"):
        assert all(tensor.dtype == torch.float64 for tensor in one[part].values())
        assert furthest(one[part], first[part]) < 1e-8
        assert same_tensors(first[part], second[part])
    assert first["rows"] == second["rows"]
    assert len(one["rows"]) * -(-count // ddp_training.BATCH) >= ddp_training.STEPS
    for row, other in zip(one["rows"], first["rows"], strict=True):
        assert row == pytest.approx(other, abs=1e-8)


def test_without_weights_for_parts_of_unequal_size_it_would_not(ran: Path) -> None:
    one, first, _ = results(ran)
    assert furthest(one["trained 23"]["network"], first["unweighted"]["network"]) > 1e-4


@pytest.mark.parametrize(
    ("name", "kind", "message", "who"),
    [
        (
            "not finite",
            "ImpossibleError",
            "training diverged: the loss is not finite in epoch 2, step 1",
            None,
        ),
        ("input", "InputError", "the third picture is torn", 1),
        ("disk", "OutputError", "no room", 0),
        ("memory", "ImpossibleError", "out of memory in process 1 with 3 samples", 1),
        ("defect", "RuntimeError", "shapes do not match", 1),
    ],
)
def test_what_ends_one_ends_all_and_is_said_once(
    ran: Path, name: str, kind: str, message: str, who: int | None
) -> None:
    found = [torch.load(ran / name / f"{rank}.pt") for rank in range(2)]
    (told,) = [one for one in found if one[0] != "ToldElsewhereError"]
    assert who is None or found[who] is told
    assert told[0] == kind
    assert told[1].startswith(message)
    state = read_state(ran / name / "run.state.pt")
    assert (state["epoch"], state["step"], len(state["others"])) == (1, 0, 1)
    assert all(bool(tensor.isfinite().all()) for tensor in state["network"].values())


def process(parent: int, rank: int) -> int:
    """The child of torchrun that is number ``rank``."""
    for place in Path("/proc").iterdir():
        try:
            above = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            told = (place / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if above == parent and f"RANK={rank}".encode() in told:
            return int(place.name)
    raise AssertionError(f"process {rank} is not there")


COMMAND = [
    "-m", "prunecli", "finetune", "dense.safetensors", "--data", "digits", "--samples", "96", "--epochs", "8",
    "--augment", "crop", "--ema", "0.9", "--save-minutes", "0", "--device", "cpu",
]  # fmt: skip


def killed(folder: Path, rank: int) -> Ran:
    child = start(*TWO, *COMMAND, "--batch-size", 16, "-o", "cut.safetensors", folder=folder)
    state = folder / "cut.state.pt"
    limit = time.monotonic() + 60
    while not state.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process(child.pid, rank), signal.SIGKILL)
    return finish(child)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_a_process_that_is_killed_ends_all_and_the_rest_is_made_up_for(
    checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copy(checkpoint, tmp_path / "dense.safetensors")
    whole = start(*TWO, *COMMAND, "--batch-size", 16, "-o", "whole.safetensors", folder=tmp_path)
    done = finish(whole)
    assert done.code == 0, done.err
    assert done.out.count("dense.safetensors -> whole.safetensors") == 1
    assert [line.split(":")[0] for line in done.err.splitlines() if line.startswith("epoch")] == [
        f"epoch {number} of 8" for number in range(1, 9)
    ]
    assert done.err.count("note: trained by 2 processes") == 1

    ended = killed(tmp_path, rank=1)
    assert ended.code != 0
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: training ended: another of its 2 processes is gone, or torchrun was told to stop; "
        "cut.state.pt is as it was last written"
    )
    assert ended.out == ""
    assert read_state(tmp_path / "cut.state.pt")["epoch"] < 8
    assert not (tmp_path / "cut.safetensors").exists()
    (tmp_path / "one.state.pt").write_bytes((tmp_path / "cut.state.pt").read_bytes())

    again = [
        start(*TWO, *COMMAND, "--batch-size", 16, "-o", "cut.safetensors", "--resume", folder=tmp_path),
        start(*COMMAND, "--batch-size", 32, "-o", "one.safetensors", "--resume", folder=tmp_path),
    ]
    for child in again:
        done = finish(child)
        assert done.code == 0, done.err
    written = {name: load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut", "one")}
    assert same_tensors(written["whole"], written["cut"])
    assert not same_tensors(written["whole"], written["one"])
    assert prunecli.verify(tmp_path / "cut.safetensors", against=checkpoint).passed
    assert len((tmp_path / "one.metrics.jsonl").read_text().splitlines()) == 8
    assert not list(tmp_path.glob("*.state.pt"))


def test_alone_nothing_is_started() -> None:
    with joined("cpu", None) as (team, device):
        assert (team, device) == (ALONE, torch.device("cpu"))
        assert not torch.distributed.is_initialized()
    assert team.told(3) == 3
    assert team.gathered(3) == [3]
    assert team.added([1.0, 2.0]) == [1.0, 2.0]
    assert team.seed(2**32 - 1) == 2**32 - 1
    assert team.notes(ddp_training.small()) == []


def test_several_that_torchrun_did_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ImpossibleError, match=r"the 2 processes did not find each other: .*MASTER_ADDR"):
        joined("cpu", None).__enter__()


def test_each_process_draws_from_numbers_of_its_own() -> None:
    seeds = [Team(rank, 4).seed(2**32 - 1) for rank in range(4)]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of("auto", Launched(1, 2, 1, 2)) == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name in ("auto", "cuda"):
        assert device_of(name, Launched(3, 4, 1, 2)) == torch.device("cuda", 1)
    assert device_of("cuda:1", Launched(3, 4, 0, 1)) == torch.device("cuda", 1)
    assert device_of("cpu", Launched(3, 4, 1, 2)) == torch.device("cpu")
    assert device_of("auto", Launched()) == torch.device("cuda")
    with pytest.raises(UsageError, match="torchrun started 3 processes on a machine with 2 GPUs") as caught:
        device_of("cuda", Launched(2, 3, 2, 3))
    assert caught.value.hint == "--nproc-per-node 2, or --device cpu"
    with pytest.raises(UsageError, match="the 2 processes on this machine cannot share device 'cuda:0'"):
        device_of("cuda:0", Launched(0, 2, 0, 2))


def test_norms_are_synchronised_on_cuda_where_torch_can() -> None:
    class Own(nn.BatchNorm2d):
        """Does more than torch's."""

    def made() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(Own(2)), nn.GroupNorm(1, 2))

    team, network = Team(0, 2), made()
    weights = [id(parameter) for parameter in network.parameters()]
    found = team.synchronised(network, torch.device("cuda"))
    assert [type(module).__name__ for module in found.modules()][2:6] == [
        "SyncBatchNorm", "Sequential", "Own", "GroupNorm",
    ]  # fmt: skip
    assert [id(parameter) for parameter in found.parameters()] == weights
    assert type(team.synchronised(nn.BatchNorm1d(3), torch.device("cuda"))) is nn.SyncBatchNorm
    assert team.notes(found) == [
        "trained by 2 processes",
        "1 norm took the statistics of each process's own samples, and those of process 0 are written",
    ]
    assert type(team.synchronised(made(), torch.device("cpu"))[1]) is nn.BatchNorm2d  # type: ignore[index]
    assert type(ALONE.synchronised(made(), torch.device("cuda"))[1]) is nn.BatchNorm2d  # type: ignore[index]
