"""Two signals of many; the long form is ``signals.py``."""

from __future__ import annotations

import signal
from pathlib import Path

from .signals import Bench, Plan


def test_a_command_that_is_told_to_stop_ends_cleanly(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ("--repair", "none"))
    bench.stop(Plan(signal.SIGTERM, None))
    bench.stop(Plan(signal.SIGINT, 0.5, again=0.1, group=True))
    assert not bench.wrong
    assert bench.found == {"exit 130": 2}
    assert bench.out.read_bytes() == b"old"
