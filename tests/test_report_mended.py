from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from report_examples import REPAIR

from prunecli.report import mended
from prunecli.report.figures import OperationRow


@pytest.mark.parametrize(
    ("applied", "words"),
    [
        ("lstsq", "least squares on noise, 32 inputs: output error 1.21 -> 0.261 (cut -> repaired), 2 of 3"),
        (
            "lstsq + bn",
            "least squares, then statistics of norms on noise, 32 inputs: output error 1.21 -> 0.3 ",
        ),
        ("bn", "statistics of norms on noise, 32 inputs: output error 1.21 -> 0.6 (cut -> repaired)"),
        (
            "none",
            "left as cut: least squares brought it no nearer to the dense network (on noise, 32 inputs)",
        ),
    ],
)
def test_what_was_written_is_what_is_said(applied: str, words: str) -> None:
    assert mended.repair(replace(REPAIR, applied=applied)).startswith(words)


def test_statistics_do_not_speak_of_operations() -> None:
    found = replace(REPAIR, applied="bn")
    assert "operation" not in mended.repair(found)
    assert mended.left(found) == Counter()


def test_what_could_not_be_compared_is_not_said_to_be_better() -> None:
    assert "not judged" in mended.repair(replace(REPAIR, errors={}))
    assert mended.repair(replace(REPAIR, applied="none", errors={})) == "left as cut"


def test_operations_left_are_counted_by_reason() -> None:
    rows = (*REPAIR.operations, OperationRow("a", "", "no better"), OperationRow("b", "", "no better"))
    assert mended.left(replace(REPAIR, operations=rows)) == Counter(
        {"no better": 2, "its output is that of the dense network already": 1}
    )
    assert "2 of 5 operations" in mended.repair(replace(REPAIR, operations=rows))


def test_channel_mixing_is_counted_whatever_was_done_besides() -> None:
    rows = (*REPAIR.operations, OperationRow("qkv.weight", "channel mixing and of the logits"))
    assert "3 of 4 operations (2 by channel mixing)" in mended.repair(replace(REPAIR, operations=rows))
