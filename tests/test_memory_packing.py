# SPDX-License-Identifier: Apache-2.0
"""Packing: valid, never worse than greedy, as low as exhaustive search, and the bound holds."""

from __future__ import annotations

import os
import time
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcudeploy.errors import InputError
from mcudeploy.memory.bounds import best_overlap, live_bytes_bound
from mcudeploy.memory.csvfile import pack_csv, read_csv
from mcudeploy.memory.exact import ExactPacker
from mcudeploy.memory.geometry import make_geometry
from mcudeploy.memory.greedy import orders, place
from mcudeploy.memory.packing import QUICK, pack
from mcudeploy.memory.problem import Allowance, Buffer, Packing, Problem, Tie
from mcudeploy.memory.ranges import Ranges, dive


def faults(problem: Problem, offsets: tuple[int, ...]) -> list[str]:
    """What is wrong with offsets, written down straight from the definitions."""
    found = []
    for i, a in enumerate(problem.buffers):
        if offsets[i] < 0 or offsets[i] % a.alignment:
            found.append(f"{i} is not aligned")
        found += [
            f"{i} touches a hole"
            for low, high in problem.holes
            if a.size and offsets[i] < high and offsets[i] + a.size > low
        ]
        for j in range(i):
            b = problem.buffers[j]
            share = max(offsets[i], offsets[j]) < min(offsets[i] + a.size, offsets[j] + b.size)
            if share and a.meets(b) and not allowed(problem, j, i, offsets[i] - offsets[j]):
                found.append(f"{j} and {i} share bytes")
    return found + [
        f"tie {tie}"
        for tie in problem.ties
        if offsets[tie.second] - offsets[tie.first] != tie.distance
    ]


def allowed(problem: Problem, first: int, second: int, distance: int) -> bool:
    rules = [
        (rule, distance if rule.first == first else -distance)
        for rule in problem.allowances
        if {rule.first, rule.second} == {first, second}
    ]
    return bool(rules) and all(
        (rule.max_distance is not None and d <= rule.max_distance)
        or (rule.min_distance is not None and d >= rule.min_distance)
        for rule, d in rules
    )


def exhaustive_height(problem: Problem, ceiling: int) -> int:
    """The least height of all packings of at most `ceiling`, by trying every offset."""
    ranges = [range(0, ceiling - b.size + 1, b.alignment) for b in problem.buffers]
    best = ceiling + 1
    for offsets in product(*ranges):
        height = max(o + b.size for o, b in zip(offsets, problem.buffers, strict=True))
        if height < best and not faults(problem, offsets):
            best = height
    return best


@st.composite
def buffers(draw: st.DrawFn, most: int = 12, size: int = 40, alignment: int = 4) -> list[Buffer]:
    made = []
    for index in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, 8))
        length = draw(st.integers(1, 5))
        made.append(
            Buffer(f"b{index}", draw(st.integers(0, size)), start, start + length, alignment)
        )
    return made


@st.composite
def problems(draw: st.DrawFn, most: int = 12, size: int = 40, alignment: int = 4) -> Problem:
    """Buffers, some pairs of which may share bytes at some distances."""
    made = draw(buffers(most, size, alignment))
    distance = st.none() | st.integers(-size, size)
    allowances = [
        Allowance(i, j, draw(distance), draw(distance))
        for i in range(len(made))
        for j in range(i)
        if draw(st.integers(0, 3)) == 0
    ]
    return Problem(tuple(made), tuple(allowances))


@given(problems())
@settings(max_examples=150, deadline=None)
def test_every_packing_is_valid_and_not_below_its_bound(problem: Problem) -> None:
    packing = pack(problem, QUICK)
    assert faults(problem, packing.offsets) == []
    tops = [o + b.size for o, b in zip(packing.offsets, problem.buffers, strict=True)]
    assert packing.height == max(tops) >= packing.lower_bound


@given(buffers(most=20))
@settings(max_examples=100, deadline=None)
def test_packing_is_never_worse_than_greedy_by_size(made: list[Buffer]) -> None:
    geometry = make_geometry(Problem(tuple(made)))
    name, by_size = orders(geometry)[0]
    greedy = place(geometry, by_size)
    assert name == "greedy by size"
    assert greedy is not None
    assert pack(geometry.problem, QUICK).height <= geometry.height(greedy)


@given(problems(most=4, size=5, alignment=1))
@settings(max_examples=60, deadline=None)
def test_packing_of_small_problems_is_as_low_as_exhaustive_search(problem: Problem) -> None:
    packing = pack(problem)
    assert faults(problem, packing.offsets) == []
    assert packing.height == exhaustive_height(problem, packing.height)
    assert packing.lower_bound <= packing.height


@pytest.mark.slow(reason="exhaustive search of 1,500 problems")
@given(problems(most=4, size=6, alignment=1))
@settings(max_examples=1500, deadline=None)
def test_packing_is_as_low_as_exhaustive_search_at_length(problem: Problem) -> None:
    assert pack(problem).height == exhaustive_height(problem, pack(problem).height)


@given(problems(most=4, size=5, alignment=1))
@settings(max_examples=60, deadline=None)
def test_no_height_below_the_optimum_is_thought_possible_when_narrowing_refutes_it(
    problem: Problem,
) -> None:
    geometry = make_geometry(problem)
    optimum = exhaustive_height(problem, 14)
    assert live_bytes_bound(geometry) <= optimum
    assert Ranges(geometry, optimum).possible
    dived = dive(geometry, optimum)
    assert dived is None or faults(problem, geometry.offsets_of_buffers(dived)) == []


@given(problems(most=4, size=5, alignment=1))
@settings(max_examples=30, deadline=None)
def test_exact_search_proves_what_exhaustive_search_finds(problem: Problem) -> None:
    optimum = exhaustive_height(problem, 14)
    packer = ExactPacker(make_geometry(problem))
    found = packer.within(optimum, attempts=1, conflicts=10_000)
    assert found is not None
    assert found.offsets is not None
    if optimum:
        below = packer.within(optimum - 1, attempts=1, conflicts=10_000)
        assert below is not None
        assert below.offsets is None
        assert below.lower_bound == optimum


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(-9, 9), st.integers(0, 9), st.integers(1, 3)
)
def test_best_overlap_is_that_of_the_best_allowed_distance(
    first: int, second: int, low: int, width: int, alignment: int
) -> None:
    high = low + width
    tried = [
        min(first, d + second) - max(0, d)
        for d in range(-30, 31)
        if d % alignment == 0 and (d <= low or d >= high)
    ]
    assert best_overlap(first, second, (low, high), alignment) == max(0, *tried)


def test_views_hold_their_place_and_may_share_only_what_is_allowed() -> None:
    made = (Buffer("a", 8, 0, 2), Buffer("b", 8, 1, 2), Buffer("ab", 16, 1, 3))
    ties = (Tie(0, 2, 0), Tie(1, 2, -8))
    problem = Problem(made, (Allowance(0, 2, 0, 0), Allowance(1, 2, 0, 0)), ties=ties)
    packing = pack(problem)
    assert faults(problem, packing.offsets) == []
    assert packing.height == 16
    with pytest.raises(ValueError, match="tied to share"):
        pack(Problem(made, ties=ties))
    with pytest.raises(ValueError, match="contradict"):
        pack(Problem(made, ties=(*ties, Tie(0, 1, 4))))


def test_no_buffer_touches_a_hole() -> None:
    made = tuple(Buffer(f"b{i}", 24, 0, 1) for i in range(4))
    problem = Problem(made, holes=((60, 100),))
    packing = pack(problem)
    assert faults(problem, packing.offsets) == []
    assert packing.height == 148


def test_same_problem_same_packing() -> None:
    made = tuple(Buffer(f"b{i}", 7 * i % 50 + 3, i % 9, i % 9 + 2 + i % 4) for i in range(60))
    assert pack(Problem(made)) == pack(Problem(made))


def test_csv_round_trip(tmp_path: Path) -> None:
    path, solved = tmp_path / "problem.csv", tmp_path / "solved.csv"
    path.write_text("id,lower,upper,size\na,0,2,10\nb,1,3,20\nc,2,3,10\n")
    packing = pack_csv(path, 30, output=solved)
    assert packing.height == 30
    assert faults(read_csv(path), packing.offsets) == []
    assert read_csv(solved) == read_csv(path)
    lines = solved.read_text().splitlines()
    assert lines[0] == "id,lower,upper,size,offset"
    assert [int(line.split(",")[4]) for line in lines[1:]] == list(packing.offsets)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no column"),
        ("id,lower,upper\n1,2,3\n", "no column 'size'"),
        ("id,lower,upper,size\n1,2,3\n", "missing or not whole"),
        ("id,lower,upper,size\n1,2,x,4\n", "missing or not whole"),
        ("id,lower,upper,size\n1,5,5,4\n", "makes no sense"),
        ("id,lower,upper,size\n1,2,5,-4\n", "makes no sense"),
        ("id,lower,upper,size\n1,2,5,99999999999999999999\n", "makes no sense"),
    ],
)
def test_csv_that_is_no_problem_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "problem.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_csv(path)


def test_csv_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_csv(tmp_path / "none.csv")


def test_the_hard_instances_are_packed_into_their_capacity() -> None:
    """Published instances, each known to fit 1,048,576: all six within a minute on one core."""
    models = os.environ.get("MCUDEPLOY_MODELS")
    folder = Path(models or "").parent / "planner"
    if not models or not folder.is_dir():
        pytest.skip("no folder `planner` beside MCUDEPLOY_MODELS: no hard packing instances")
    files = sorted(folder.glob("*.csv"))
    assert len(files) >= 6
    begin = time.process_time()
    solved: dict[str, Packing] = {path.stem: pack_csv(path, 1 << 20) for path in files}
    assert time.process_time() - begin < 60
    for path in files:
        packing = solved[path.stem]
        assert faults(read_csv(path), packing.offsets) == []
        assert packing.lower_bound <= packing.height <= 1 << 20
