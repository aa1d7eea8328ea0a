# SPDX-License-Identifier: Apache-2.0
"""A search for networks that use a board better than the fixed families do: a step to MCUNet.

The space are MobileNetV2-like networks with a kernel, expansion, width and depth of their own in
each stage (`zoo/searched.py`), at any of several resolutions. The search is evolutionary: a random
population, then generations of children, each a mutation of a good parent or a mix of two. A child
whose largest map or whose weights alone exceed the limits is thrown away before it is planned;
the others are planned as everything else is. What fits is ranked by MACs or parameters, what does
not by how far it is over, so the search first comes inside of the limits and then fills them. The
same seed gives the same networks, on one process, many or a cluster.

With `accuracy` the best are trained, and ranked by MnasNet's objective ACC * (MACs / T)^w with
w = -0.07 and T the median of their MACs (Tan et al., CVPR 2019).
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.deployment_stream import StreamMode
from mcudeploy.errors import InputError
from mcudeploy.explore.candidate import Member, Need
from mcudeploy.explore.work import Job, make_job, run_jobs
from mcudeploy.zoo.architecture import OptionValue
from mcudeploy.zoo.net import Network
from mcudeploy.zoo.searched import STRIDES, Genome, Stage

Objective = Literal["macs", "capacity"]
Run = Callable[..., list[Need]]

RESOLUTIONS = (64, 80, 96, 112, 128, 144, 160, 176, 192, 224)
KERNELS = (3, 5, 7)
EXPANSIONS = (1, 2, 3, 4, 5, 6)
STEMS = (8, 16, 24, 32)
HEADS = (0, 128, 256, 384)
WIDTHS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160)
DEPTHS = (1, 2, 3, 4)
_POPULATION = 24
_CHILDREN = 16
_MNASNET_EXPONENT = -0.07
_DISCARDS = 400
"""Children thrown away in a row before the search takes what it has."""


@dataclass(frozen=True)
class Found:
    """A network that fits, with its score: the higher the better."""

    member: Member
    need: Need
    score: float
    accuracy: float | None = None

    @property
    def code(self) -> str:
        return str(self.member.options["code"])


@dataclass(frozen=True)
class Space:
    """The search space for a task and its limits in bytes."""

    ram_bytes: int
    flash_bytes: int
    classes: int = 1000
    channels: int = 3
    resolutions: tuple[int, ...] = RESOLUTIONS
    streamed: bool = False
    """Maps need not lie in memory as a whole."""

    def member(self, genome: Genome) -> Member:
        options: dict[str, OptionValue] = {
            "code": genome.code,
            "channels": self.channels,
            "classes": self.classes,
        }
        return Member("searched", options)

    def hopeless(self, network: Network) -> bool:
        """One map, or the weights, are over the limit without anything else."""
        maps = max(layer.elements for layer in network.layers)
        large = maps > self.ram_bytes and not self.streamed
        return large or zoo.counting.count(network).kernels > self.flash_bytes


def search(
    board: Board,
    *,
    seed: int = 0,
    evaluations: int = 200,
    objective: Objective = "macs",
    classes: int = 1000,
    channels: int = 3,
    resolutions: tuple[int, ...] = RESOLUTIONS,
    accuracy: Callable[[Member], float] | None = None,
    trained: int = 4,
    stream: StreamMode = "off",
    run: Run = run_jobs,
) -> tuple[Found, ...]:
    """Networks that fit `board`, the best first; `evaluations` of them are planned.

    `accuracy` trains a member and gives its accuracy, 0 to 1; the `trained` best are ranked by
    it. `stream` as `explore` has it. `run` measures jobs (`work.run_jobs` with its options bound).
    Raises InputError for fewer evaluations than a population.
    """
    if evaluations < _POPULATION:
        raise InputError(
            f"{evaluations} evaluations are too few to search", where="--evaluations",
            mend=f"give at least {_POPULATION}",
        )  # fmt: skip
    space = Space(
        sum(region.size for region in board.regions("ram")), board.regions("flash")[0].size,
        classes, channels, resolutions, stream != "off",
    )  # fmt: skip
    made = partial(make_job, board_json=board.model_dump_json(by_alias=True), stream=stream)
    found = _evolve(space, made, random.Random(seed), evaluations, objective, run)
    ranked = sorted((f for f in found if f.need.fits), key=lambda f: (-f.score, f.code))
    if accuracy is None or not ranked:
        return tuple(ranked)
    return _by_accuracy(ranked[:trained], accuracy)


def _evolve(
    space: Space, job: Callable[[Network], Job], chance: random.Random, evaluations: int,
    objective: Objective, run: Run,
) -> list[Found]:  # fmt: skip
    known: dict[Genome, Found] = {}
    make: Callable[[], Genome] = partial(_random, space, chance)
    while len(known) < evaluations:
        wanted = min(_CHILDREN if known else _POPULATION, evaluations - len(known))
        genomes = _new(space, make, known, wanted)
        if not genomes:
            break
        members = [space.member(genome) for genome in genomes]
        needs = run([job(member.network()) for member in members])
        for genome, member, need in zip(genomes, members, needs, strict=True):
            known[genome] = Found(member, need, _score(space, need, objective))
        parents = sorted(known, key=lambda g: (-known[g].score, g.code))[:_POPULATION]
        make = partial(_child, space, chance, parents)
    return list(known.values())


def _new(
    space: Space, make: Callable[[], Genome], known: dict[Genome, Found], wanted: int
) -> list[Genome]:
    """Genomes that are not known and have a chance."""
    made: dict[Genome, None] = {}
    discarded = 0
    while len(made) < wanted and discarded < _DISCARDS:
        genome = make()
        if genome in known or genome in made or space.hopeless(space.member(genome).network()):
            discarded += 1
        else:
            made[genome] = None
    return list(made)


def _score(space: Space, need: Need, objective: Objective) -> float:
    """MACs or parameters of what fits; minus the share by which the rest is over."""
    if not need.deployable:
        return float("-inf")
    if need.fits:
        return float(need.macs if objective == "macs" else need.parameters)
    return -max(need.ram_bytes / space.ram_bytes, need.flash_bytes / space.flash_bytes)


def _random(space: Space, chance: random.Random) -> Genome:
    """Widths grow from stage to stage, as maps shrink."""
    widths = sorted(chance.choices(WIDTHS, k=len(STRIDES)))
    stages = tuple(
        Stage(
            chance.choice(KERNELS), 1 if position == 0 else chance.choice(EXPANSIONS), width,
            chance.choice(DEPTHS),
        )
        for position, width in enumerate(widths)
    )  # fmt: skip
    return Genome(
        chance.choice(space.resolutions), chance.choice(STEMS), stages, chance.choice(HEADS)
    )


def _child(space: Space, chance: random.Random, parents: list[Genome]) -> Genome:
    # The better half is chosen twice as often.
    first = min(chance.choices(parents, k=2), key=parents.index)
    if chance.random() < 0.3:
        second = chance.choice(parents)
        stages = tuple(
            chance.choice(pair) for pair in zip(first.stages, second.stages, strict=True)
        )
        first = replace(first, stages=stages, resolution=second.resolution)
    for _ in range(chance.choice((1, 1, 2, 3))):
        first = chance.choice(list(_mutations(space, chance, first)))
    return first


def _mutations(space: Space, chance: random.Random, genome: Genome) -> Iterator[Genome]:
    """One step in each of the directions there are."""
    yield replace(genome, resolution=_near(chance, space.resolutions, genome.resolution))
    yield replace(genome, stem=_near(chance, STEMS, genome.stem))
    yield replace(genome, head=_near(chance, HEADS, genome.head))
    for _ in range(4):
        position = chance.randrange(len(genome.stages))
        stage = genome.stages[position]
        changed = chance.choice((
            replace(stage, kernel=_near(chance, KERNELS, stage.kernel)),
            replace(stage, expansion=_near(chance, EXPANSIONS, stage.expansion)),
            replace(stage, width=_near(chance, WIDTHS, stage.width)),
            replace(stage, depth=_near(chance, DEPTHS, stage.depth)),
        ))  # fmt: skip
        stages = (*genome.stages[:position], changed, *genome.stages[position + 1 :])
        yield replace(genome, stages=stages)


def _near(chance: random.Random, choices: tuple[int, ...], value: int) -> int:
    """One of the two neighbours of a value."""
    position = choices.index(value) + chance.choice((-1, 1))
    return choices[min(max(position, 0), len(choices) - 1)]


def _by_accuracy(ranked: list[Found], accuracy: Callable[[Member], float]) -> tuple[Found, ...]:
    target = statistics.median(found.need.macs for found in ranked)
    scored = []
    for found in ranked:
        reached = accuracy(found.member)
        score = mnasnet_objective(reached, found.need.macs, target)
        scored.append(replace(found, accuracy=reached, score=score))
    return tuple(sorted(scored, key=lambda f: (-f.score, f.code)))


def mnasnet_objective(accuracy: float, cost: float, target: float) -> float:
    """ACC * (cost / T)^w, w = -0.07 (Tan et al., "MnasNet", CVPR 2019)."""
    return float(accuracy * (cost / target) ** _MNASNET_EXPONENT)
