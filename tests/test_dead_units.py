"""The search over a space and readings written by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.coupling.axes import Fixed, Units
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Group, Guard, Member, Slot, Space, Use
from prunecli.dead.readings import Reading, Readings
from prunecli.dead.units import HIDDEN, LAST, Search
from prunecli.repair.operations import Constant
from prunecli.running.calls import Geometry, Rows

NONE = Polynomial({})


def space(*bundles: Bundle, guards: tuple[Guard, ...] = (), value_changing: str | None = None) -> Space:
    """Two layers of four hidden units each: g, then h."""
    slots = [
        (Slot(f"{name}.out", 0, "out"), Slot(f"{name}.in", 1, "in")) for name in ("g", "h")
    ]  # fmt: skip
    groups = (Group("g", 4, slots[0], value_changing=value_changing), Group("h", 4, slots[1]))
    axes = {f"{name}.out": (Units(name), Fixed(2)) for name in ("g", "h")} | {
        f"{name}.in": (Fixed(2), Units(name)) for name in ("g", "h")
    }
    chosen = bundles or (Bundle((Member("g", 1),)), Bundle((Member("h", 1),)))
    return Space(groups, axes, chosen, guards, (), (), NONE, NONE)


def search(
    of: Space, dead: dict[str, list[int]], uses: dict[str, list[Use]] | None = None, place: bool = True
) -> Search:
    """``dead``: units with rows of zeros, which give 1."""
    tensors: dict[str, Tensor] = {}
    readings = {}
    for name in ("g", "h"):
        tensors[f"{name}.out"], tensors[f"{name}.in"] = torch.ones(4, 2), torch.ones(2, 4)
        tensors[f"{name}.out"][dead.get(name, [])] = 0
        arrives = torch.full((1, 4), torch.nan, dtype=torch.float64)
        arrives[:, dead.get(name, [])] = 1
        where = Constant("bias", 0, 2) if place else None
        readings[f"{name}.in"] = [
            Reading(
                f"{name}.in",
                0,
                "product",
                Geometry(),
                Rows(0, 2, True),
                ~arrives.isnan(),
                arrives,
                True,
                where,
            )
        ]
    return Search(of, tensors, Readings(readings, {}), uses or {})


def test_free_groups_lose_all_that_is_dead() -> None:
    found = search(space(), {"g": [1, 2], "h": [0]}).found()
    assert found.keep == {"g": (0, 3), "h": (1, 2, 3)} and not found.stays


def test_one_stays() -> None:
    found = search(space(), {"g": [0, 1, 2, 3]}).found()
    assert len(found.keep["g"]) == 1 and list(found.stays["g"].values()) == [LAST]


def test_tied_groups_lose_the_same_number() -> None:
    found = search(space(Bundle((Member("g", 1), Member("h", 2)))), {"g": [0, 1, 3], "h": [1, 2, 3]}).found()
    assert found.keep == {"g": (1, 2, 3), "h": (0, 3)}
    assert found.stays == {
        "g": dict.fromkeys((1, 3), "its size is tied to that of h"),
        "h": {3: "its size is tied to that of g"},
    }


def test_ties_to_a_group_that_may_not_shrink_hold_both() -> None:
    tied = space(Bundle((Member("g", 1), Member("h", 1))), value_changing="a LayerNorm")
    found = search(tied, {"g": [0], "h": [1]}).found()
    assert not found.keep
    assert found.stays["g"] == {0: "a LayerNorm"} and "a LayerNorm" in found.stays["h"][1]


def test_rungs_and_guards_are_kept() -> None:
    ladder = Bundle((Member("g", 1), Member("h", 1)), rungs=((1, 2), (3, 3)))
    assert {k: len(v) for k, v in search(space(ladder), {"g": [0, 1], "h": [0, 1]}).found().keep.items()} == {
        "g": 3,
        "h": 2,
    }
    even = Guard(Polynomial({("g",): 1}), "%0", Polynomial({(): 2}), "a check")
    found = search(space(guards=(even,)), {"g": [0, 1, 2]}).found()
    assert len(found.keep["g"]) == 2 and "a check" in next(iter(found.stays["g"].values()))


def test_what_something_unseen_takes_must_be_zero_altogether() -> None:
    uses = {"g": [Use("aten.bmm", "", "joins")], "h": [Use("aten.relu", "", "passes")]}
    found = search(space(), {"g": [0], "h": [0]}, uses).found()
    assert found.keep == {"g": (1, 2, 3), "h": (1, 2, 3)}
    alive = search(space(), {"g": [0]}, uses)
    alive.tensors["g.out"][0, 0] = 1  # type: ignore[index]
    found = alive.found()
    assert not found.keep and found.stays["g"] == {0: HIDDEN}


def test_without_a_place_they_stay() -> None:
    found = search(space(), {"g": [2]}, place=False).found()
    assert not found.keep and "'g.in'" in found.stays["g"][2]


def test_unread_units_go_even_if_alive() -> None:
    work = search(space(), {}, place=False)
    work.tensors["g.in"][:, 3] = 0  # type: ignore[index]
    assert work.found().keep == {"g": (0, 1, 2)}
