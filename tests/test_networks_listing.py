"""The names that completion offers are those that the installed libraries have."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from prunecli.networks import listing
from prunecli.networks.catalogue import names


def listed(family: str) -> list[str]:
    return [name for name in listing.listed() if name.startswith(f"{family}:")]


@pytest.mark.parametrize("family", listing.FAMILIES)
def test_the_shipped_list_is_current(family: str) -> None:
    """For the releases it was made from; another release may have others."""
    if family != listing.OURS:
        try:
            now = version(family)
        except PackageNotFoundError:
            pytest.skip(f"{family} is not installed")
        if now != listing.versions()[family]:
            pytest.skip(f"the list is of {family} {listing.versions()[family]}, and here is {now}")
    assert listed(family) == listing.installed(family), "python -m prunecli.networks.listing --write"


def test_every_family_is_in_it_and_every_line_is_a_name() -> None:
    assert all(listed(family) for family in listing.FAMILIES)
    assert {name.partition(":")[0] for name in listing.listed()} == set(listing.FAMILIES)
    assert set(names()) <= set(listing.listed())
    assert len(set(listing.listed())) == len(listing.listed())


def test_timm_is_listed_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "find_spec", lambda name: object())
    assert list(listing.of_timm()) == listed("timm")
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    assert listing.of_timm() == ()
