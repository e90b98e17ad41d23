"""``flips.py`` in short; the long form is in docs/testing.md."""

from __future__ import annotations

import pytest

from . import flips, runs
from .bases import OWN, make


@pytest.fixture(scope="module")
def content() -> bytes:
    from prunecli.report.model import Proof

    with pytest.MonkeyPatch.context() as patch, runs.places() as at:
        patch.setattr("prunecli.saving.reload_proof", lambda *_, **__: Proof("reload", True))
        return make(OWN, at.out).files["net.safetensors"]


def test_every_flip_is_found(content: bytes) -> None:
    undo = flips.spared_reload()
    try:
        found = list(flips.asked(content, flips.planned(content, 100, 0, 1, 31)))
    finally:
        undo()
    assert len(found) > 200
    assert {flip.where for flip in found} == {"tensors", "header"}
    assert [flip for flip in found if flip.fault] == []


def test_the_whole_file_is_no_finding(content: bytes) -> None:
    undo = flips.spared_reload()
    try:
        with runs.places() as at:
            path = at.given / "net.safetensors"
            path.write_bytes(content)
            assert flips.by_proof(path) == flips.MISSED
    finally:
        undo()


def test_places_are_seeded_and_lie_in_tensors(content: bytes) -> None:
    drawn = flips.places_of(content, 1000, 3)
    assert drawn == flips.places_of(content, 1000, 3) != flips.places_of(content, 1000, 4)
    assert len(set(drawn)) == 1000
    assert all(flips.header_end(content) <= byte < len(content) and 0 <= bit < 8 for byte, bit in drawn)
    byte, bit = drawn[0]
    changed = flips.flipped(content, byte, bit)
    assert [i for i in range(len(content)) if changed[i] != content[i]] == [byte]
    assert flips.flipped(changed, byte, bit) == content
