"""JSON that parsers would read differently, or that is too much, is no JSON here."""

from __future__ import annotations

import json

import pytest

from prunecli.checkpoint import strict_json
from prunecli.checkpoint.strict_json import parsed


def test_what_json_reads_alike_is_read_alike() -> None:
    document = {"a": [1, -2.5, True, None, {"b": "ü\n"}], "c": {}}
    assert parsed(json.dumps(document)) == parsed(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' is there twice"),
        ('[{"x": {"k": 1, "k": 1}}]', "the key 'k' is there twice"),
        ("[NaN]", "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 200_000, "nested too deeply"),
        ("1" * 10_000, "digit"),
        ("{} {}", "Extra data"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        ("", "Expecting value"),
        (" " * (strict_json.MAX_BYTES + 1), "more than"),
    ],
)
def test_what_is_refused(document: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        parsed(document)
    assert len(str(raised.value)) < 300
