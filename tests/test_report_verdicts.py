from __future__ import annotations

from dataclasses import replace

from report_examples import evaluation, finetuning, report
from rich.console import Console
from test_report_gated import GATES

from prunecli.report.evaluated import evaluation as evaluated
from prunecli.report.finetuned import finetuning as finetuned
from prunecli.report.markdown import finetuning as finetuning_markdown
from prunecli.report.markdown import result as result_markdown
from prunecli.report.terminal import planned, result
from prunecli.report.verdicts import verdicts


def shown(*parts: object) -> str:
    console = Console(width=200)
    with console.capture() as printed:
        console.print(*parts, sep="\n")
    return printed.get()


def test_a_line_per_gate_and_nothing_without_any() -> None:
    assert verdicts(()) == ()
    lines = [line.split() for line in shown(*verdicts(GATES)).splitlines()]
    assert lines[-3:] == [
        ["--max-params", "at", "most", "5,000,000", "parameters", "5,000,000", "parameters", "passed"],
        ["--max-latency", "at", "most", "2.5", "ms", "2.75", "ms", "FAILED"],
        ["--min-accuracy", "at", "least", "92%", "-", "not", "judged"],
    ]


def test_every_document_shows_them() -> None:
    run, trained = replace(report(), gates=GATES), replace(finetuning(), gates=GATES)
    for text in (
        shown(*result(run)), shown(*planned(run)), shown(*finetuned(trained)),
        shown(*evaluated(replace(evaluation(), gates=GATES))),
        result_markdown(run), finetuning_markdown(trained),
    ):  # fmt: skip
        assert "--max-latency" in text and "FAILED" in text and "not judged" in text
    for bare in (shown(*result(report())), result_markdown(report())):
        assert "gate" not in bare


def test_a_training_that_did_not_begin_has_no_table_of_epochs() -> None:
    assert "learning rate  " not in shown(
        *finetuned(replace(finetuning(), epochs=(), before=None, after=None))
    )
