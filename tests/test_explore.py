# SPDX-License-Identifier: Apache-2.0
"""Exploring: what fits and why not, fronts, sizes without packing, results kept and shared."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mcudeploy import zoo
from mcudeploy.board import find_board
from mcudeploy.deployment import Options, choose_board
from mcudeploy.errors import InputError, ToolError
from mcudeploy.explore import Candidate, Exploration, Member, Need, explore, pareto_front, work
from mcudeploy.explore.candidate import measure, published_top1, within
from mcudeploy.graph.ir import Graph, Tensor
from mcudeploy.graph.passes import run_passes
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates
from mcudeploy.report import explorations
from mcudeploy.report.plot_exploration import draw_exploration, plot_exploration

BOARD = find_board("stm32f469")


@pytest.fixture
def store(tmp_path: Path) -> work.Store:
    return work.Store(tmp_path / "store")


def with_values(graph: Graph, seed: int) -> Graph:
    """The shape graph with random weights and biases in place of zeros."""
    random = np.random.default_rng(seed)

    def fill(tensor: Tensor) -> Tensor:
        if tensor.data is None or tensor.quantization is None or not tensor.shape:
            return tensor
        size = 2000 if tensor.dtype == "int32" else 25
        values = np.clip(random.normal(0, size, tensor.shape).round(), -4 * size, 4 * size)
        return replace(tensor, data=values.astype(tensor.dtype))

    return replace(graph, tensors=tuple(fill(tensor) for tensor in graph.tensors))


@pytest.mark.parametrize("board", ["stm32f469", "nucleo_f103rb", "mps3_an547"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5", {}),
        ("ds_cnn", {"filters": 32}),
        ("resnet8", {}),
        ("vww", {"width": 0.25, "resolution": 64}),
        ("shufflenet", {"width": 0.25, "resolution": 64, "classes": 10}),
        ("mobilenet_v3_small", {"width": 0.35, "resolution": 64, "classes": 10}),
    ],
)
def test_sizes_without_packing_are_those_of_full_packing(
    name: str, options: dict[str, Any], board: str
) -> None:
    core = find_board(board).core
    empty = run_passes(zoo.graph(name, **options))
    full = run_passes(with_values(zoo.graph(name, **options), 1))

    def sizes(graph: Graph, sizes_only: bool) -> list[Any]:
        made = candidates(graph, Target(core, sizes_only=sizes_only))
        return [
            {
                one.kernel: (
                    one.scratch_bytes, one.overlaps, one.placed,
                    sorted((c.name, c.part, c.bytes) for c in one.constants),
                )
                for one in kernels
            }
            for kernels in made
        ]  # fmt: skip

    assert sizes(empty, True) == sizes(full, False)


def test_a_refusal_names_region_operator_and_bytes() -> None:
    need = measure(Member("vgg16", {}).network(), BOARD)
    assert not need.fits
    over = need.regions["flash"] - BOARD.regions("flash")[0].size
    assert f"flash is over by {over:,} bytes" in need.reason
    assert "sram is over by" in need.reason
    assert "at operator #1 CONV_2D" in need.reason


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru_attention"])
def test_recurrent_members_are_measured_with_their_steps_rolled_up(name: str) -> None:
    """Weights and code count once, however many steps there are; each has its tables.

    Those of an LSTM are 3 of 256 bytes and what its scales need; its weights are 2,816 bytes.
    """
    short, long = (
        measure(Member(name, {"steps": steps, "units": 16}).network(), BOARD) for steps in (8, 16)
    )
    assert short.fits
    assert long.macs > 1.9 * short.macs
    assert "REPEAT" in long.peak
    assert 0 < long.flash_bytes - short.flash_bytes < 8 * 1024


def test_streaming_makes_members_fit_that_do_not_as_a_whole(store: work.Store) -> None:
    """MobileNetV2 0.35 at 96: 108 KiB of maps on a board of 96 KiB."""
    board = choose_board("nucleo_f401re", Options())
    network = Member("mobilenet_v2", {"width": 0.35, "resolution": 96, "classes": 10}).network()
    text = board.model_dump_json(by_alias=True)
    whole, streamed = work.run_jobs(
        [work.make_job(network, text), work.make_job(network, text, "auto")],
        store=store, processes=1,
    )  # fmt: skip
    assert "sram is over by" in whole.reason
    assert streamed.ram_bytes <= 96 * 1024 < whole.ram_bytes
    assert streamed.macs == whole.macs


def test_equal_networks_are_measured_once(store: work.Store) -> None:
    text = BOARD.model_dump_json(by_alias=True)
    job = work.make_job(Member("lenet5", {}).network(), text)
    same = work.make_job(Member("lenet5", {"resolution": 32}).network(), text)
    other = work.make_job(Member("lenet5", {"classes": 5}).network(), text)
    seen: list[tuple[int, int]] = []
    needs = work.run_jobs(
        [job, same, other, job],
        store=store,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert needs[0] == needs[1] == needs[3] != needs[2]
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_an_interrupted_exploration_goes_on_where_it_stopped(
    store: work.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = work.run_job, []

    def counted(job: work.Job) -> Need:
        calls.append(job)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(work, "run_job", counted)
    with pytest.raises(KeyboardInterrupt):
        explore(["ds_cnn"], ["stm32f469"], store=store, processes=1)
    explore(["ds_cnn"], ["stm32f469"], store=store, processes=1)
    assert len(calls) == 5 + 1


def test_damaged_results_are_measured_again(store: work.Store) -> None:
    first = explore(["lenet"], ["stm32f469"], store=store)
    for file in store.folder.rglob("*.json"):
        file.write_text("{")
    assert explore(["lenet"], ["stm32f469"], store=store).candidates == first.candidates


def test_processes_and_one_process_agree(tmp_path: Path) -> None:
    one = explore(["resnet8"], [BOARD], store=work.Store(tmp_path / "a"), processes=1)
    two = explore(["resnet8"], [BOARD], store=work.Store(tmp_path / "b"), processes=2)
    assert one.candidates == two.candidates


def test_dask_gives_the_same_as_one_process(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        there = explore(
            ["ds_cnn"], [BOARD], store=work.Store(tmp_path / "a"),
            scheduler=cluster.scheduler_address,
        )  # fmt: skip
    here = explore(["ds_cnn"], [BOARD], store=work.Store(tmp_path / "b"), processes=1)
    assert there.candidates == here.candidates


def test_a_scheduler_that_does_not_answer_is_said(store: work.Store) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    with pytest.raises(ToolError, match="no Dask scheduler answers"):
        explore(["lenet"], [BOARD], store=store, scheduler="nonsense://nowhere:1")


def candidate(ram: int, macs: int, fits: bool = True, accuracy: float | None = None) -> Candidate:
    need = Need(fits, "" if fits else "too large", macs=macs, ram_bytes=ram)
    return Candidate(Member("lenet5", {}), BOARD.name, need, accuracy)


def test_the_front_holds_what_nothing_beats() -> None:
    small, beaten, large = candidate(10, 100), candidate(20, 90), candidate(30, 200)
    assert pareto_front([large, beaten, small]) == (large, small)


def test_what_fits_is_not_beaten_by_what_does_not() -> None:
    refused, fitting = candidate(10, 100, fits=False), candidate(20, 90)
    assert pareto_front([refused, fitting]) == (refused, fitting)


def test_accuracy_can_put_a_candidate_on_the_front() -> None:
    accurate, many_macs = candidate(20, 90, accuracy=70.0), candidate(10, 100, accuracy=60.0)
    assert pareto_front([accurate, many_macs]) == (accurate, many_macs)


def test_the_largest_has_the_most_macs_of_those_that_fit() -> None:
    fitting = candidate(20, 90)
    found = Exploration(("lenet",), (BOARD,), (candidate(10, 50), fitting, candidate(9, 99, False)))
    assert found.largest(BOARD.name) is fitting
    assert found.largest(BOARD.name, "lenet") is fitting
    assert found.largest(BOARD.name, "vgg") is None


def test_a_matrix_has_a_row_for_each_of_what_there_is_more_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    boards = tuple(find_board(name) for name in ("stm32f469", "nucleo_f103rb", "nrf52840_dk"))
    found = tuple(replace(candidate(20, 90), board=board.name) for board in boards)
    explorations.print_exploration(Exploration(("lenet",), boards, found), Console())
    assert capsys.readouterr().out.split()[:2] == ["board", "lenet"]
    explorations.print_exploration(Exploration(("lenet", "vgg"), boards[:2], found[:2]), Console())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["family", "stm32f469", "nucleo_f103rb"]
    assert lines[-3].split() == ["vgg", "none", "none"]


def test_what_is_too_slow_or_unknown_does_not_meet_a_latency() -> None:
    fast, slow, unknown = (
        replace(one, need=replace(one.need, milliseconds=ms))
        for one, ms in ((candidate(1, 1), 9.0), (candidate(1, 1), 11.0), (candidate(1, 1), None))
    )
    assert within(fast, 10.0).fits
    assert within(slow, 10.0).need.reason == "takes 11.0 ms, 1.0 over"
    assert "cannot be predicted" in within(unknown, 10.0).need.reason


def test_published_errors_become_accuracies() -> None:
    assert published_top1(Member("mobilenet_v1", {"width": 0.5, "resolution": 160})) == 60.2
    options = {"groups": 3, "width": 1.5}
    assert published_top1(Member("shufflenet", options)) == 71.5
    assert published_top1(Member("lenet5", {})) is None


def test_limits_take_the_place_of_the_board(store: work.Store) -> None:
    found = explore(["ds_cnn"], [BOARD], ram="24K", store=store, processes=1)
    assert any(c.fits for c in found.candidates)
    for one in found.candidates:
        assert one.fits == (one.need.ram_bytes <= 24 * 1024), one.need.reason


def test_records_have_every_candidate_and_reason(store: work.Store) -> None:
    found = explore(["ds_cnn"], [BOARD], ram="24K", store=store, processes=1)
    read = list(csv.DictReader(io.StringIO(explorations.csv_text(found))))
    assert len(read) == 5
    assert all(bool(row["reason"]) == (row["fits"] == "False") for row in read)


def test_names_in_the_picture_lie_within_it_and_over_nothing() -> None:
    random = np.random.default_rng(0)
    members = [Member(*one) for one in zoo.members("shufflenet")]
    ram = [int(size) * 1024 for size in random.integers(50, 1500, len(members))]
    needs = [
        Need(size < 384 * 1024, "", macs=int(size * random.uniform(50, 200)), ram_bytes=size)
        for size in ram
    ]
    found = Exploration(
        ("shufflenet",), (BOARD,),
        tuple(Candidate(one, BOARD.name, need) for one, need in zip(members, needs, strict=True)),
    )  # fmt: skip
    figure = draw_exploration(found)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = [text for text in axes.texts if "@" in text.get_text()]
    assert len(names) >= 8
    boxes = [text.get_window_extent() for text in names]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = [
        axes.transData.transform((c.need.ram_bytes / 1024, c.need.macs / 1e6))
        for c in found.candidates
    ]
    for box in boxes:
        assert axes.bbox.contains(box.x0, box.y0)
        assert axes.bbox.contains(box.x1, box.y1)
        assert not any(box.contains(*point) for point in points)


def test_a_picture_of_accuracies_needs_some(store: work.Store, tmp_path: Path) -> None:
    found = explore(["lenet"], [BOARD], store=store)
    with pytest.raises(InputError, match="no accuracy"):
        plot_exploration(found, tmp_path / "front.png", axis="accuracy")


def test_unknown_families_and_boards_are_refused(store: work.Store) -> None:
    with pytest.raises(InputError, match="no family"):
        explore(["mobilnet"], [BOARD], store=store)
    with pytest.raises(InputError):
        explore(["lenet"], ["no_such_board"], store=store)


@pytest.mark.skipif(os.name == "nt", reason="signals are those of Unix")
def test_interrupting_leaves_no_process_and_no_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "MCUDEPLOY_CACHE": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-m", "mcudeploy.cli", "explore", "all", "-b", "stm32f469",
         "--processes", "2"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, output) == (130, ""), errors
    assert "Traceback" not in errors


def test_the_command_prints_json_and_80_columns(tmp_path: Path) -> None:
    environment = {**os.environ, "MCUDEPLOY_CACHE": str(tmp_path), "COLUMNS": "80"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mcudeploy.cli", "explore", *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    plot = tmp_path / "front.png"
    text = run("lenet", "ds_cnn", "-b", "stm32f469", "--plot", str(plot))
    assert max(map(len, text.splitlines())) <= 80
    assert "largest ds_cnn that fits: ds_cnn" in text
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(run("lenet", "-b", "stm32f469", "-b", "nucleo_f103rb", "--json"))
    assert len(document["candidates"]) == 2
    assert set(document["largest"]) == {"stm32f469", "nucleo_f103rb"}
