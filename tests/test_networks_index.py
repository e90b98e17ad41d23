"""The shipped index is what the installed torchvision gives, and reading it needs no torch."""

from __future__ import annotations

import subprocess
import sys

from prunecli.networks.catalogue import PATH, candidates, name_digest, nearest
from prunecli.networks.index import generate


def test_the_index_is_current() -> None:
    assert PATH.read_text(encoding="utf-8") == generate(), "run: python -m prunecli.networks.index --write"


def test_names_do_not_import_torch() -> None:
    code = "import sys, prunecli.networks as n; assert len(n.names()) > 90; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digest_ignores_order_and_counters() -> None:
    assert name_digest(["a", "b", "c.num_batches_tracked"]) == name_digest(["b", "a"])
    assert name_digest(["a"]) != name_digest(["b"])


def test_nothing_is_near_to_nothing() -> None:
    assert nearest(["quite.other"]) == ()
    assert candidates(["quite.other"]) == ()
