"""A dense checkpoint and a pruned one, made once per process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: more threads would only wait for each other. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if hasattr(signal, "SIGHUP"):
    # Under nohup it is ignored, here and in what the tests start.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from hypothesis import settings
from resnet8 import digest, resnet8
from safetensors.torch import save_file

import prunecli
from prunecli import Result
from prunecli.fresh import RELOAD
from prunecli.racing import Effort
from prunecli.report.model import Proof

# The same examples in every run, so that a failure is that of a change. Others: --hypothesis-profile search.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")


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
def no_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the fresh process, which takes seconds, where the test is not about it."""
    monkeypatch.setattr("prunecli.saving.reload_proof", lambda *_, **__: Proof(RELOAD, True))
