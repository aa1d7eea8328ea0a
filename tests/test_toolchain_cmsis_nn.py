# SPDX-License-Identifier: Apache-2.0
"""CMSIS-NN: only the pinned tree is ever used, and only the part of it that is needed."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mcudeploy.board import CORES
from mcudeploy.errors import InputError, ToolError
from mcudeploy.toolchain import cmsis_nn


@pytest.fixture
def files() -> dict[str, bytes]:
    """The right files, as either origin would give them."""
    tree = cmsis_nn.source()
    return {p.as_posix(): (tree / p).read_bytes() for p in cmsis_nn.closure(cmsis_nn.functions())}


@pytest.fixture
def cache(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty cache of its own; what was found before is forgotten, and again afterwards."""
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path))
    monkeypatch.delenv("MCUDEPLOY_CMSIS_NN", raising=False)
    cmsis_nn._cached.cache_clear()
    yield tmp_path / "cmsis-nn"
    cmsis_nn._cached.cache_clear()


def origin(
    monkeypatch: pytest.MonkeyPatch,
    pypi: Callable[[], dict[str, bytes]],
    upstream: Callable[[], dict[str, bytes]] | None = None,
) -> None:
    def nowhere() -> dict[str, bytes]:
        raise OSError("no route")

    monkeypatch.setattr(cmsis_nn, "_from_wheel", pypi)
    monkeypatch.setattr(cmsis_nn, "_from_upstream", upstream or nowhere)


# --- getting it -----------------------------------------------------------------------------------


def test_the_tree_is_the_pinned_one() -> None:
    assert cmsis_nn.tree_hash(cmsis_nn.source()) == cmsis_nn.TREE_SHA256
    assert cmsis_nn.available()


def test_upstream_serves_when_pypi_does_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    def broken() -> dict[str, bytes]:
        raise OSError("no such package")

    origin(monkeypatch, broken, lambda: files)
    assert cmsis_nn.tree_hash(cmsis_nn.source()) == cmsis_nn.TREE_SHA256


def test_without_a_network_the_error_names_both_origins_and_the_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline() -> dict[str, bytes]:
        raise OSError("name not resolved")

    origin(monkeypatch, offline)
    with pytest.raises(ToolError) as caught:
        cmsis_nn.source()
    assert "PyPI: name not resolved" in caught.value.where
    assert "upstream: no route" in caught.value.where
    assert "MCUDEPLOY_CMSIS_NN" in caught.value.mend
    assert not cmsis_nn.available()


def test_files_with_other_bytes_are_never_installed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    name = next(iter(files))
    origin(monkeypatch, lambda: {**files, name: files[name] + b"\n"})
    with pytest.raises(ToolError, match="could not be fetched"):
        cmsis_nn.source()
    assert not (cache / cmsis_nn.COMMIT).exists()


def test_names_that_point_out_of_the_tree_are_dropped() -> None:
    hostile = ["../Source/a.c", "/Include/a.h", "Source/../../a.c", "Source/a.sh", "Include/a.h/"]
    good = ["Source/F/a.c", "Include/Internal/b.h"]
    assert set(cmsis_nn._sources((n, b"") for n in hostile + good)) == set(good)


def test_a_fetch_that_was_killed_half_way_leaves_nothing_that_is_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    half = cache / ".partial-killed" / "tree" / "Include"
    half.mkdir(parents=True)
    (half / "arm_nn_types.h").write_bytes(b"half")
    origin(monkeypatch, lambda: files)
    assert cmsis_nn.tree_hash(cmsis_nn.source()) == cmsis_nn.TREE_SHA256
    assert not list(cache.glob(".partial-*"))


def test_a_damaged_cache_is_fetched_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    origin(monkeypatch, lambda: files)
    damaged = cmsis_nn.source() / "Include" / "arm_nn_types.h"
    damaged.write_bytes(b"")
    cmsis_nn._cached.cache_clear()
    assert cmsis_nn.source() and damaged.read_bytes()


def test_two_at_once_fetch_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    fetched = []
    together = threading.Barrier(2)

    def fetch() -> dict[str, bytes]:
        fetched.append(1)
        time.sleep(0.2)
        return files

    def ask(_: int) -> Path:
        together.wait()
        return cmsis_nn.source()

    origin(monkeypatch, fetch)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second and len(fetched) == 1


def test_a_tree_of_ones_own_is_used_when_it_is_the_pinned_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "CMSIS-NN"
    shutil.copytree(cmsis_nn.source(), own)
    (own / "README.md").write_text("a checkout has more files")
    assert cmsis_nn.source(own) == own
    monkeypatch.setenv("MCUDEPLOY_CMSIS_NN", str(own))
    assert cmsis_nn.source() == own


@pytest.mark.parametrize("change", ["altered", "another file", "a file less", "empty"])
def test_a_tree_of_ones_own_that_is_another_is_refused(tmp_path: Path, change: str) -> None:
    own = tmp_path / "CMSIS-NN"
    shutil.copytree(cmsis_nn.source(), own)
    header = own / "Include" / "arm_nn_types.h"
    if change == "altered":
        header.write_bytes(header.read_bytes() + b" ")
    elif change == "another file":
        (own / "Source" / "more.c").write_text("")
    elif change == "a file less":
        header.unlink()
    else:
        shutil.rmtree(own)
    with pytest.raises(InputError) as caught:
        cmsis_nn.source(own)
    assert str(own) in caught.value.where and cmsis_nn.COMMIT in caught.value.mend


# --- taking what is needed ------------------------------------------------------------------------


def test_closure_of_a_convolution_leaves_the_rest_out() -> None:
    names = [path.name for path in cmsis_nn.closure(["arm_convolve_wrapper_s8"])]
    assert "arm_convolve_wrapper_s8.c" in names and "arm_nn_mat_mult_nt_t_s8.c" in names
    assert "arm_nnfunctions.h" in names and "arm_nn_compiler.h" in names
    assert not [n for n in names if "softmax" in n or "lstm" in n or "s4" in n or "pool" in n]


def test_closure_is_sorted_and_does_not_depend_on_the_order_asked_in() -> None:
    functions = ["arm_softmax_s8", "arm_avgpool_s8", "arm_elementwise_add_s8"]
    found = cmsis_nn.closure(functions)
    assert list(found) == sorted(found) and found == cmsis_nn.closure(reversed(functions))


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(InputError, match="arm_gelu_s8"):
        cmsis_nn.closure(["arm_gelu_s8"])


def symbols(tree: Path, objects: Path, flags: tuple[str, ...]) -> dict[str, dict[str, set[str]]]:
    """By source file: what its object defines for others (`D`), what it wants of others (`U`)."""
    files = [p for p in cmsis_nn.closure(cmsis_nn.functions()) if p.suffix == ".c"]
    found = {}
    command = ["arm-none-eabi-gcc", *flags, "-std=c99", "-O1", "-c", "-I", str(tree / "Include")]
    subprocess.run([*command, *(str(tree / f) for f in files)], cwd=objects, check=True)
    for file in files:
        listed = subprocess.run(
            ["arm-none-eabi-nm", objects / f"{file.stem}.o"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        kinds: dict[str, set[str]] = {"D": set(), "U": set()}
        for fields in map(str.split, filter(None, listed)):
            if fields[-2] in "TDRB":
                kinds["D"].add(fields[-1])
            elif fields[-2] == "U":
                kinds["U"].add(fields[-1])
        found[file.as_posix()] = kinds
    return found


@pytest.mark.parametrize(
    "core",
    ["cortex-m4f", pytest.param("cortex-m55", marks=pytest.mark.slow("compiles all of it again"))],
)
def test_closure_holds_all_that_the_linker_will_ask_for(core: str, tmp_path: Path) -> None:
    """Against the compiler: every name that an object wants is defined within its closure."""
    found = symbols(cmsis_nn.source(), tmp_path, CORES[core].compiler_flags)
    defined = {name for kinds in found.values() for name in kinds["D"]}
    assert defined <= set(cmsis_nn.functions())
    for file, kinds in found.items():
        if kinds["D"]:
            closure = [p.as_posix() for p in cmsis_nn.closure(kinds["D"]) if p.suffix == ".c"]
            assert file in closure
            there = {name for other in closure for name in found[other]["D"]}
            assert kinds["U"] & defined <= there
