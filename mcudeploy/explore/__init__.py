# SPDX-License-Identifier: Apache-2.0
"""Which members of a family fit a board, at what cost, and which of them are worth having.

`explore(["mobilenet_v1"], ["stm32f469"])` plans every member over all axes of its options and
hands back an `Exploration`: the candidates, the Pareto front, the largest that fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.deployment import Options, choose_board
from mcudeploy.deployment_stream import StreamMode
from mcudeploy.errors import InputError
from mcudeploy.explore.candidate import Candidate, Member, Need, published_top1, within
from mcudeploy.explore.work import Progress, Store, make_job, run_jobs

__all__ = ["Candidate", "Exploration", "Member", "Need", "explore"]


@dataclass(frozen=True)
class Exploration:
    """The candidates of all families on all boards, families and members in order."""

    families: tuple[str, ...]
    boards: tuple[Board, ...]
    candidates: tuple[Candidate, ...]
    latency_ms: float | None = None

    def on(self, board: str) -> tuple[Candidate, ...]:
        """The candidates on one board."""
        return tuple(c for c in self.candidates if c.board == board)

    def largest(self, board: str, family: str | None = None) -> Candidate | None:
        """The candidate of most MACs that fits, of the least RAM among equals.

        `family` may be a single architecture, as `families` may hold one.
        """
        fitting = [
            c for c in self.on(board)
            if c.fits and family in (None, _family(c), c.member.name)
        ]  # fmt: skip
        return max(fitting, key=lambda c: (c.need.macs, -c.need.ram_bytes), default=None)

    @cached_property
    def _fronts(self) -> dict[str, frozenset[int]]:
        return {
            board.name: frozenset(map(id, pareto_front(self.on(board.name))))
            for board in self.boards
        }

    def on_front(self, candidate: Candidate) -> bool:
        """Nothing on its board gives as many MACs, or its accuracy, in less RAM."""
        return id(candidate) in self._fronts[candidate.board]


def _family(candidate: Candidate) -> str:
    return zoo.describe(candidate.member.name).family


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates that no other beats in RAM and MACs, or in RAM and published accuracy.

    One that fits is beaten by another that fits only; one that does not, by any.
    """
    able = [c for c in candidates if c.need.deployable]
    fitting = [c for c in able if c.fits]
    chosen = {id(c) for c in _fronts(fitting)} | {id(c) for c in _fronts(able) if not c.fits}
    return tuple(c for c in able if id(c) in chosen)


def _fronts(candidates: Sequence[Candidate]) -> list[Candidate]:
    by_macs = _front([(c.need.ram_bytes, float(c.need.macs), c) for c in candidates])
    rated = [(c.need.ram_bytes, c.accuracy, c) for c in candidates if c.accuracy is not None]
    return [*by_macs, *_front(rated)]


def _front(points: Sequence[tuple[int, float, Candidate]]) -> list[Candidate]:
    best, front = -1.0, []
    for _, value, candidate in sorted(points, key=lambda p: (p[0], -p[1])):
        if value > best:
            best = value
            front.append(candidate)
    return front


def explore(
    families: Sequence[str],
    boards: Sequence[str | Path | Board],
    *,
    ram: str | int | None = None,
    flash: str | int | None = None,
    latency_ms: float | None = None,
    stream: StreamMode = "off",
    processes: int | None = None,
    scheduler: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Plan all members of `families` (or single architectures) on all `boards`.

    `ram` and `flash` take the place of the boards' own (bytes or text like `64K`); `processes`,
    `scheduler` (of a Dask cluster) and `store` as `work.run_jobs` has them. With `stream` "auto"
    maps are computed row by row where a member would not fit otherwise, as `fit` does, with "max"
    everywhere; both take longer to plan. Members whose options contradict each other (groups that
    do not divide a width) are left out.
    Raises InputError for an unknown family or board.
    """
    if not families or not boards:
        raise InputError("nothing to explore", mend="name at least one family and one board")
    chosen = tuple(choose_board(board, Options(ram=ram, flash=flash)) for board in boards)
    members = []
    for family in dict.fromkeys(families):
        for name, options in zoo.members(family):
            member = Member(name, options)
            try:
                members.append((member, member.network()))
            except InputError:
                continue
    texts = [board.model_dump_json(by_alias=True) for board in chosen]
    jobs = [make_job(network, text, stream) for text in texts for _, network in members]
    needs = iter(
        run_jobs(
            jobs, processes=processes, scheduler=scheduler, store=store, progress=progress
        )
    )  # fmt: skip
    found = [
        Candidate(member, board.name, next(needs), published_top1(member))
        for board in chosen
        for member, _ in members
    ]
    if latency_ms is not None:
        found = [within(candidate, latency_ms) for candidate in found]
    return Exploration(tuple(dict.fromkeys(families)), chosen, tuple(found), latency_ms)
