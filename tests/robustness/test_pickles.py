"""``pickles.py`` in short, in a process of its own, since an audit hook stays; the long form is in
docs/testing.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import corpus, opcodes
from .pickles import ROOT, Event, Harmless

EVERY = 150


def test_nothing_runs(tmp_path: Path) -> None:
    code = "import sys; from tests.robustness.pickles import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--every", str(EVERY), "--jobs", "1", "--few"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.stdout.rstrip().endswith("no faults"), done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_the_corpus_would_run(tmp_path: Path, protocol: int) -> None:
    """The negative control: who opens it the usual way runs it."""
    import pickle

    canary = tmp_path / "canary"
    pickle.loads(opcodes.program(opcodes.called("os", "system", (f"touch {canary}",), protocol), protocol))
    assert canary.exists()


def test_files_are_read_by_torch_where_they_are_harmless() -> None:
    """So that what is refused is refused for its malice."""
    import io
    import struct

    import torch

    data = {"0": struct.pack("<4f", 1, 2, 3, 4)}
    for wrap, at in ((opcodes.zipped, opcodes.storage), (opcodes.legacy, opcodes.old_storage)):
        body = opcodes.value({"w": opcodes.tensor(at("0", 4), 0, (2, 2), (2, 1)), "n": 3, "t": ("a", None)})
        loaded = torch.load(io.BytesIO(wrap(opcodes.program(body), data)), weights_only=True)
        assert loaded["w"].tolist() == [[1, 2], [3, 4]]
        assert (loaded["n"], loaded["t"]) == (3, ("a", None))


def test_names_of_the_corpus_differ(tmp_path: Path) -> None:
    found = list(corpus.corpus(tmp_path / "canary", tmp_path / "victim", {}))
    assert len(found) > 3000
    keys = [(m.name, m.form) for m in found]
    assert len(set(keys)) == len(keys)


def test_events_beyond_harmless_ones_are_refused(tmp_path: Path) -> None:
    ours, theirs = (f"{ROOT}/prunecli/fresh.py",), ("/site-packages/torch/_utils.py",)

    def event(name: str, *args: str, by: tuple[str, ...] = theirs, pid: int = 1) -> Event:
        return Event(pid, name, args, by)

    harmless = Harmless.of([event("import", "'json'"), event("hook", pid=2), event("import", "'bz2'", pid=2)])
    helper = ("sys", f"['{sys.executable}', '-m', 'prunecli.fresh']")
    allowed = [
        event("import", "'json'"), event("import", "'torch.x'"), event("open", f"'{tmp_path}/x'", "'w'", "1"),
        event("subprocess.Popen", f"'{sys.executable}'", helper[1], by=ours), event("os.fork", by=ours),
    ]  # fmt: skip
    refused = [
        event("import", "'bz2'"), event("open", "'/etc/x'", "'w'", "1"), event("os.system", "b'x'", by=ours),
        event("subprocess.Popen", f"'{sys.executable}'", helper[1]), event("os.fork"),
        event("socket.connect", "x"),
        event("socket.connect", "AF_INET", by=ours), event("subprocess.Popen", "'sh'", "['sh']", by=ours),
        event("pickle.find_class", "'os'"), event("ctypes.dlopen", "'x'"),
    ]  # fmt: skip
    assert harmless.refused([*allowed, *refused], tmp_path) == refused
    assert harmless.refused([event("hook", pid=2), event("import", "'bz2'", pid=2)], tmp_path) == []
