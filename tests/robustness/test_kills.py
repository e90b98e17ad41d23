"""A few kills of small writes; the long form (``kills.py``) has a thousand of large ones."""

from __future__ import annotations

from pathlib import Path

from . import kills


def test_after_a_kill_there_is_the_old_or_the_new(tmp_path: Path) -> None:
    tallies = kills.campaign(runs=20, megabytes=4, seed=1, whole=False, at=tmp_path)
    assert {kind: tally.found.total() for kind, tally in tallies.items()} == {"file": 19, "directory": 1}
    for tally in tallies.values():
        assert not tally.failed, tally
    # Else nothing was killed in the middle.
    assert tallies["file"].left > 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_neither_is_found(tmp_path: Path) -> None:
    """A writer that writes in place fails the same kills."""
    path, blocks = tmp_path / "x", [b"a" * (1 << 20), b"b" * (1 << 20)]

    def put(which: int) -> None:
        with path.open("wb") as file:
            for _ in range(100):
                file.write(blocks[which])

    target = kills.Target(path, put, lambda: kills.file_digest(path))
    tally = kills.Tally()
    for part in (0.2, 0.4, 0.5, 0.6):
        target.kill(part, tally)
    assert tally.found["neither"] > 0
    assert tally.failed
