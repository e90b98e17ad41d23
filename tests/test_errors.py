"""The error tree: exit codes, hints, nearest names."""

from __future__ import annotations

import math

import pytest

from prunecli import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2), (errors.InputError, 3), (errors.ImpossibleError, 4), (errors.OutputError, 5),
    ],
)  # fmt: skip
def test_every_error_has_its_exit_code(kind: type[errors.PruneError], code: int) -> None:
    error = kind("what was found", "what to type")
    assert error.exit_code == code
    assert isinstance(error, errors.PruneError)
    assert (str(error), error.message, error.hint) == ("what was found", "what was found", "what to type")
    assert kind("alone").hint is None


def test_no_two_kinds_share_a_code() -> None:
    codes = [kind.exit_code for kind in errors.PruneError.__subclasses__()]
    assert sorted(codes) == sorted(set(codes))
    assert 1 not in codes and 0 not in codes


def test_a_misspelt_name_gets_the_nearest() -> None:
    error = errors.unknown_name("criterion", "magnitud-l2", ["magnitude-l1", "magnitude-l2", "random"])
    assert isinstance(error, errors.UsageError)
    assert error.message == "unknown criterion 'magnitud-l2'"
    assert error.hint is not None
    assert error.hint.startswith("did you mean magnitude-l2")


@pytest.mark.parametrize(
    ("typed", "known", "near"),
    [
        ("--bogus", ["--flops", "--output", "--plan"], []),
        ("--spedup", ["--speedup", "--steps", "--input"], ["--speedup"]),
        ("--quite", ["--quiet", "--steps", "--input"], ["--quiet"]),
        ("-round", ["--round-to", "--ratio"], ["--round-to"]),
        ("layer1.0.convl", ["layer1.0.conv1", "layer1.0.conv2", "fc"], ["layer1.0.conv1", "layer1.0.conv2"]),
        ("abcd", ["abce", "abcf", "abcg", "abch"], ["abce", "abcf", "abcg"]),
        ("", ["a"], []),
    ],
)
def test_only_likely_names_are_suggested(typed: str, known: list[str], near: list[str]) -> None:
    assert errors.nearest(typed, known) == near
    hint = errors.did_you_mean(typed, known)
    assert hint == (f"did you mean {' or '.join(near)}?" if near else None)


def test_a_name_like_no_other_gets_the_list() -> None:
    error = errors.unknown_name("scheme", "zzz", ["uniform", "local"])
    assert error.hint == "known: local, uniform"
    many = errors.unknown_name("network", "zzz", [f"net{i:02}" for i in range(50)])
    assert many.hint is not None and many.hint.count(",") == 19


def test_an_exception_of_a_library_is_one_short_line() -> None:
    assert errors.first_line(RuntimeError("\n sizes differ\nat line 3")) == "sizes differ"
    assert errors.first_line(AssertionError()) == "AssertionError"
    assert len(errors.first_line(ValueError("x" * 999))) == 200


def test_a_number_out_of_range_is_named_with_what_it_means() -> None:
    errors.require_range(True, "--share", math.nan, "a share, 0 to 1")
    for value, shown in ((1.5, "1.5"), (math.nan, "nan"), (3, "3")):
        with pytest.raises(errors.UsageError) as caught:
            errors.require_range(False, "--share", value, "a share, 0 to 1")
        assert str(caught.value) == f"--share {shown} is out of range"
        assert caught.value.hint == "--share is a share, 0 to 1"
