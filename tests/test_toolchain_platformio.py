# SPDX-License-Identifier: Apache-2.0
"""Building a project with PlatformIO: offline, silent, warning-free, with errors one can act on."""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from toolchain_project import write_project

from mcudeploy.board import CORES
from mcudeploy.errors import BuildError, InputError, ToolError
from mcudeploy.toolchain import packages, platformio
from mcudeploy.toolchain.elf import read_elf
from mcudeploy.toolchain.platformio import build


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


@pytest.mark.parametrize("core", CORES)
def test_a_project_builds_for_every_core_without_a_warning(core: str, tmp_path: Path) -> None:
    result = build(write_project(tmp_path, core))
    assert result.warnings == ()
    assert result.elf.stat().st_size > 0 and result.map.is_file()
    assert result.elf.with_suffix(".bin").is_file()
    assert read_elf(result.elf).has("arm_convolve_wrapper_s8")


def test_progress_names_what_is_compiled_and_the_log_is_kept(project: Path) -> None:
    lines: list[str] = []
    result = build(project, progress=lines.append)
    assert any(line.endswith("src/main.o") or "Linking" in line for line in lines)
    assert (result.elf.parent / "build.log").read_text() == result.log


def test_a_second_build_compiles_nothing_and_a_change_only_its_file(project: Path) -> None:
    build(project)
    assert build(project).compiled == 0
    answer = project / "lib" / "answer" / "answer.c"
    # Such a file was never compiled before, so that no cache has it.
    answer.write_text(f"{answer.read_text()}\n/* {uuid.uuid4()} */\n")
    result = build(project)
    assert result.compiled == 1 and "answer/answer.o" in result.log


def test_a_change_of_the_linker_script_links_anew(project: Path) -> None:
    before = read_elf(build(project).elf).address_of("verdict")
    script = project / "board.ld"
    script.write_text(script.read_text().replace("0x20000000", "0x20001000"))
    result = build(project)
    assert result.compiled == 0
    assert read_elf(result.elf).address_of("verdict") == before + 0x1000


def test_a_change_of_the_flags_compiles_everything_anew(project: Path) -> None:
    build(project)
    ini = project / "platformio.ini"
    ini.write_text(
        ini.read_text().replace("build_flags = -O2", f"build_flags = -DX{uuid.uuid4().hex}")
    )
    assert build(project).compiled > 5


def test_the_same_project_elsewhere_gives_the_same_bytes_out_of_the_cache(tmp_path: Path) -> None:
    first = build(write_project(tmp_path / "one"))
    second = build(write_project(tmp_path / "two" / "deeper"))
    digests = {hashlib.sha256(r.elf.read_bytes()).hexdigest() for r in (first, second)}
    assert len(digests) == 1
    assert second.compiled == 0


def test_a_path_may_hold_spaces_quotes_and_letters_of_any_alphabet(tmp_path: Path) -> None:
    result = build(write_project(tmp_path / "mein Projekt, 'zwei' ü"))
    assert result.warnings == () and result.map.is_file()


def test_a_path_that_platformio_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\$"):
        build(write_project(tmp_path / "$HOME"))


def test_projects_and_one_project_can_be_built_at_once_even_with_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = write_project(tmp_path / "1"), write_project(tmp_path / "2", "cortex-m0plus")
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path / "cache"))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(build, [one, two, one, two]))
    assert [r.elf for r in results] == [r.elf for r in results[:2]] * 2
    assert min(results[0].compiled, results[2].compiled) == 0  # one waited for the other


def test_a_build_asks_no_network_and_leaves_the_users_home_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Python of the build runs with sockets that write down who asked, then refuse."""
    asked = tmp_path / "asked"
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(
        "import pathlib, socket, sys\n"
        "def refuse(*arguments, **named):\n"
        f"    with pathlib.Path({str(asked)!r}).open('a') as file: print(arguments, file=file)\n"
        "    raise OSError('no network in this test')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    platformio.core_folder()
    monkeypatch.setenv("PYTHONPATH", str(spy))
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(home))
    build(project)
    assert (tmp_path / "ran").exists()
    assert not asked.exists(), asked.read_text()
    assert not list(home.iterdir())


# --- failures -------------------------------------------------------------------------------------


def test_a_compile_error_is_told_with_its_file_and_line(project: Path) -> None:
    answer = project / "lib" / "answer" / "answer.c"
    answer.write_text('#include "answer.h"\nint answer(void) { return forty_two; }\n')
    with pytest.raises(BuildError, match="forty_two") as caught:
        build(project)
    assert caught.value.where.endswith("lib/answer/answer.c:2")
    assert "build.log" in caught.value.mend


def test_a_missing_function_is_told(project: Path) -> None:
    answer = project / "lib" / "answer" / "answer.c"
    answer.write_text('#include "answer.h"\nint f(void);\nint answer(void) { return f(); }\n')
    with pytest.raises(BuildError, match="undefined reference to `f'") as caught:
        build(project)
    assert caught.value.where.endswith("lib/answer/answer.c:3")


def test_a_memory_that_overflows_is_told_by_name_and_bytes(project: Path) -> None:
    script = project / "board.ld"
    script.write_text(script.read_text().replace("LENGTH = 320K", "LENGTH = 4K"))
    with pytest.raises(BuildError, match=r"region `sram' overflowed by \d+ bytes") as caught:
        build(project)
    assert "mcudeploy fit" in caught.value.mend


def test_a_failed_build_does_not_leave_the_firmware_of_the_one_before(project: Path) -> None:
    elf = build(project).elf
    (project / "src" / "main.c").write_text("int x = ;\n")
    with pytest.raises(BuildError):
        build(project)
    assert not elf.exists()


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no firmware project"):
        build(tmp_path)


def fake_compiler(folder: Path, script: str) -> None:
    folder.mkdir()
    compiler = folder / "arm-none-eabi-gcc"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (None, "not installed"),
        ("exit 1", "does not run"),
        ("echo 9.3.1", "too old"),
        ('case "$1" in -dump*) echo 12.2.1;; *) echo "${1#*=}";; esac', "newlib-nano"),
    ],
)
def test_a_compiler_that_cannot_serve_is_told_with_the_command_that_brings_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, problem: str
) -> None:
    if script:
        fake_compiler(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError, match=problem) as caught:
        build(project)
    if sys.platform == "linux":
        assert caught.value.mend.startswith("sudo apt-get install gcc-arm-none-eabi")
    assert not (project / ".pio").exists()


@pytest.mark.parametrize("distribution", ["platformio", "scons"])
def test_a_missing_python_package_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, distribution: str
) -> None:
    real = packages.installed_version
    monkeypatch.setattr(
        platformio, "installed_version", lambda name: None if name == distribution else real(name)
    )
    with pytest.raises(ToolError, match=distribution) as caught:
        build(project)
    assert "pip install" in caught.value.mend and distribution in caught.value.mend


def test_an_scons_that_platformio_would_replace_from_its_registry_is_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path / "cache"))
    real = packages.installed_version
    monkeypatch.setattr(
        platformio, "installed_version", lambda n: "4.5.2" if n == "scons" else real(n)
    )
    with pytest.raises(ToolError, match=r"4\.40502\.0"):
        build(project)


# --- what is written ------------------------------------------------------------------------------


def test_the_official_environment_stands_beside_and_shares_the_flags(project: Path) -> None:
    ini = configparser.ConfigParser()
    ini.read(project / "platformio.ini")
    assert ini["platformio"]["default_envs"] == "offline"
    official = ini["env:official"]
    assert official["platform"] == "platformio/ststm32@^19.0.0"
    assert official["board"] == "disco_f469ni"
    assert official["board_build.ldscript"] == "board.ld"
    assert official["board_upload.maximum_ram_size"] == str(320 * 1024)
    assert "gccarmnoneeabi@>=1.12" in official["platform_packages"]
    assert "framework" not in official and "framework" not in ini["env"]
    assert ini["env"]["extra_scripts"] == "pre:platform/project.py"


def test_old_objects_leave_the_cache_first(tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / "AB" / f"object{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    (tmp_path / "config").write_text("what SCons must keep")
    platformio._trim(tmp_path, 1000)
    assert len(list((tmp_path / "AB").iterdir())) == 10
    platformio._trim(tmp_path, 900)
    assert {p.name for p in (tmp_path / "AB").iterdir()} == {f"object{n}" for n in range(6, 10)}
    assert (tmp_path / "config").exists()


def test_a_core_folder_that_was_written_half_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path))
    home = platformio.core_folder()
    package = home / "packages" / "tool-scons"
    (package / ".piopm").unlink()
    (package / "scons.py").write_text("half")
    assert platformio.core_folder() == home
    assert "SCons.Script.main()" in (package / "scons.py").read_text()
    shutil.rmtree(package)
    platformio.core_folder()
    assert (package / ".piopm").is_file()
