"""A dense checkpoint and a pruned one, made once per process."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: more threads would only wait for each other. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from resnet8 import digest, resnet8
from safetensors.torch import save_file

import prunecli
from prunecli import Result, fresh
from prunecli.fresh import RELOAD
from prunecli.racing import Effort
from prunecli.report.model import Proof


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense") / "resnet8.safetensors"
    save_file(resnet8().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def halved(checkpoint: Path) -> Result:
    """As it was cut."""
    return prunecli.prune(checkpoint, speedup=2, repair="none")


@pytest.fixture(scope="session")
def saved(halved: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once by the whole path, with its reload in a fresh process."""
    path = tmp_path_factory.mktemp("pruned") / "small.safetensors"
    report = halved.save(path)
    assert [(proof.name, proof.passed) for proof in report.proofs][-1] == (RELOAD, True)
    assert report.output is not None
    assert report.output.digest == digest(path)
    assert report.output.bytes == path.stat().st_size
    return path


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parallel workers are told the width of the terminal, which changes how tables break."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def quick_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the command takes latencies; where cores are shared, a forward can take very long."""
    monkeypatch.setattr("prunecli.latency.EFFORT", Effort(seconds=0.05, least=2, enough=2, longest=0.5))


@pytest.fixture
def reload_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload and its comparison, without the three seconds that a process takes to start."""

    def served(_: object, *, input: str, **__: object) -> subprocess.CompletedProcess[str]:
        threads = torch.get_num_threads()
        try:
            with monkeypatch.context() as context:
                context.setattr("sys.stdin", io.StringIO(input))
                fresh._serve()
            return subprocess.CompletedProcess([], 0, "", "")
        except Exception as error:
            return subprocess.CompletedProcess([], 1, "", f"{type(error).__name__}: {error}\n")
        finally:
            torch.set_num_threads(threads)

    monkeypatch.setattr(fresh, "subprocess", SimpleNamespace(run=served))


@pytest.fixture
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh process, which takes seconds, where the test is not about it."""
    monkeypatch.setattr("prunecli.saving.reload_proof", lambda *_, **__: Proof(RELOAD, True))
