# SPDX-License-Identifier: Apache-2.0
"""Several memory regions: what can be placed is placed, and what is said to be impossible is so."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import pytest
from memory_graphs import make_board

import mcudeploy
from mcudeploy.board import find_board
from mcudeploy.explore import Member
from mcudeploy.explore.candidate import measure
from mcudeploy.memory.packing import NORMAL, pack
from mcudeploy.memory.plan import Placement
from mcudeploy.memory.problem import Allowance, Buffer, Problem
from mcudeploy.memory.regions import place_in_regions
from mcudeploy.resources import resource_folder
from mcudeploy.toolchain.elf import read_elf

UNIT = 16
KIB = 1024


def random_problem(seed: int) -> Problem:
    """Up to five buffers of 1 to 4 units; some may share units with one that they meet."""
    rng = random.Random(seed)
    buffers = []
    for index in range(rng.randint(2, 5)):
        start = rng.randrange(4)
        size = UNIT * rng.randint(1, 4)
        buffers.append(Buffer(f"b{index}", size, start, start + rng.randint(1, 4), UNIT))
    allowances = [
        Allowance(i, j, rng.choice([None, 0, -UNIT, UNIT]), rng.choice([None, None, UNIT]))
        for i in range(len(buffers))
        for j in range(i)
        if rng.random() < 0.25
    ]
    return Problem(tuple(buffers), tuple(allowances))


def clash(problem: Problem, places: Sequence[Placement]) -> bool:
    """Two buffers that meet share bytes at a distance that no allowance permits."""
    rules = {(a.first, a.second): a for a in problem.allowances}
    for i, j in combinations(range(len(places)), 2):
        a, b = problem.buffers[i], problem.buffers[j]
        distance = places[j].offset - places[i].offset
        if places[i].region != places[j].region or not a.meets(b):
            continue
        if not -b.size < distance < a.size:
            continue
        rule, back = rules.get((i, j)), rules.get((j, i))
        if not (rule and permits(rule, distance)) and not (back and permits(back, -distance)):
            return True
    return False


def permits(rule: Allowance, distance: int) -> bool:
    below = rule.max_distance is not None and distance <= rule.max_distance
    return below or (rule.min_distance is not None and distance >= rule.min_distance)


def can_be_placed(problem: Problem, rooms: dict[str, int]) -> bool:
    """Every region and every unit tried for every buffer, pruned as soon as two clash."""

    def extend(places: list[Placement]) -> bool:
        if len(places) == len(problem.buffers):
            return True
        size = problem.buffers[len(places)].size
        for region, room in rooms.items():
            for offset in range(0, room - size + 1, UNIT):
                trial = [*places, Placement(region, offset, size)]
                if not clash(problem, trial) and extend(trial):
                    return True
        return False

    return extend([])


def check_regions(seed: int) -> tuple[bool, bool]:
    """Whether the problem of that seed fits its two regions, and whether it fits one."""
    problem = random_problem(seed)
    rng = random.Random(-seed)
    rooms = {"sram": UNIT * rng.randint(2, 7), "ccm": UNIT * rng.randint(1, 4)}
    packing = pack(problem)
    places, method = place_in_regions(
        problem, packing, make_board(*rooms.items(), core="cortex-m55"),
        reserve_bytes=0, use_external=False, effort=NORMAL,
    )  # fmt: skip
    assert not clash(problem, places)
    assert all(p.offset + p.bytes <= rooms["ccm"] for p in places if p.region == "ccm")
    possible = can_be_placed(problem, rooms)
    fits = all(p.offset + p.bytes <= rooms[p.region] for p in places)
    assert fits == possible, method
    assert ("does not fit" in method) == (not fits)
    assert "was found" not in method, "nothing as small as this is left open"
    return fits, packing.height <= rooms["sram"]


def test_small_problems_fit_two_regions_exactly_if_any_placement_exists() -> None:
    found = [check_regions(seed) for seed in range(120)]
    assert sum(fits and not one for fits, one in found) >= 10, "few need the second region"
    assert sum(not fits for fits, _ in found) >= 10


@pytest.mark.slow(reason="every placement of 1,500 problems")
def test_many_small_problems_fit_two_regions_exactly_if_any_placement_exists() -> None:
    for seed in range(120, 1620):
        check_regions(seed)


def test_what_does_not_fit_is_over_by_no_more_than_need_be() -> None:
    """The first region's bytes are the least that any placement leaves it."""
    for seed in range(60):
        problem = random_problem(seed)
        board = make_board(("sram", UNIT), ("ccm", 2 * UNIT), core="cortex-m55")
        places, method = place_in_regions(
            problem, pack(problem), board, reserve_bytes=0, use_external=False, effort=NORMAL
        )
        over = max((p.offset + p.bytes for p in places if p.region == "sram"), default=0)
        if "does not fit" in method:
            assert "proven least" in method
            assert not can_be_placed(problem, {"sram": over - UNIT, "ccm": 2 * UNIT})


def test_a_network_larger_than_the_sram_of_the_f469_fits_with_its_ccm() -> None:
    """ShuffleNet g = 2 at 224: 326 KiB of activations, 320 KiB of SRAM, 64 KiB of CCM."""
    board = find_board("stm32f469")
    member = Member("shufflenet", {"groups": 2, "width": 1.0, "resolution": 224})
    need = measure(member.network(), board)
    assert need.activation_bytes > 320 * KIB - 3584
    assert need.fits
    assert 0 < need.regions["ccm"] <= 64 * KIB
    assert need.regions["sram"] <= 320 * KIB
    whole = board.model_copy(update={"memory": tuple(r for r in board.memory if r.name != "ccm")})
    assert not measure(member.network(), whole).fits


SDRAM = """
[[memory]]
name = "sdram"
kind = "ram"
address = 0xC000_0000
size = "16 MiB"
external = true
execute = false
"""


def board_with_sdram(folder: Path) -> Path:
    """A board file of the user's: an F469 with 8 KiB of SRAM and external SDRAM."""
    text = (resource_folder("boards") / "stm32f469.toml").read_text(encoding="utf-8")
    text = text.replace('name = "stm32f469"', 'name = "my_board"').replace("320 KiB", "8 KiB")
    text = re.sub(r'\[\[memory\]\]\nname = "ccm".*?\n\n', "", text, flags=re.DOTALL)
    file = folder / "my_board.toml"
    file.write_text(re.sub(r"aliases = .*\n", "", text) + SDRAM, encoding="utf-8")
    return file


def test_external_memory_of_a_board_file_by_path_is_used_only_when_asked_for(
    real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model, board = real_model("kws_ref_model.tflite"), board_with_sdram(tmp_path)
    refused = mcudeploy.prepare(model, board, stream="off")
    assert not refused.report.fits
    assert "sram is over by" in refused.report.verdict
    assert "sdram" not in refused.plan.arenas

    folder = tmp_path / "firmware"
    made = mcudeploy.generate(model, board, folder, stream="off", use_external=True)
    assert made.deployment.report.fits
    size = made.deployment.plan.arenas["sdram"]
    script = (folder / "board.ld").read_text(encoding="utf-8")
    assert "sdram (rw) : ORIGIN = 0xC0000000, LENGTH = 16777216" in script
    assert any("board_external_init()" in note for note in made.deployment.report.notes)
    assert "board_external_init()" in (folder / "README.md").read_text(encoding="utf-8")
    config = (folder / "lib/runtime/board_config.h").read_text(encoding="utf-8")
    assert "#define BOARD_USES_EXTERNAL_MEMORY 1" in config
    source = (folder / "lib/model/model.c").read_text(encoding="utf-8")
    assert f'section(".region.sdram.arena"))) int8_t model_arena_sdram[{size}];' in source


@pytest.mark.slow(reason="builds, emulates, and plans every remedy")
def test_a_network_in_external_memory_runs_bit_exact(
    real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model, board = real_model("kws_ref_model.tflite"), board_with_sdram(tmp_path)
    refused = mcudeploy.prepare(model, board, stream="off")
    remedy = next(r for r in mcudeploy.advise(refused) if r.action == "--use-external")
    assert remedy.fits
    assert 0 < remedy.saves_bytes == refused.plan.certificate.peak_bytes - remedy.peak_bytes

    done = mcudeploy.deploy(
        model, board, tmp_path / "firmware", stream="off", use_external=True
    )  # fmt: skip
    assert done.passed
    assert done.built is not None
    arenas = done.project.deployment.plan.arenas
    assert done.built.used_bytes["sdram"] == arenas["sdram"] > 0
    assert done.built.used_bytes["sram"] <= 8 * KIB
    assert read_elf(done.built.elf).address_of("model_arena_sdram") >= 0xC0000000

    own = tmp_path / "firmware" / "src" / "sdram.c"
    own.write_text("void board_external_init(void);\nint sdram_is_up;\n"
                   "void board_external_init(void)\n{\n    sdram_is_up = 1;\n}\n")  # fmt: skip
    built = mcudeploy.build(tmp_path / "firmware")
    assert read_elf(built.elf).address_of("sdram_is_up")
    assert mcudeploy.test(tmp_path / "firmware", random=2).passed
