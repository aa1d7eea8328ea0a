# SPDX-License-Identifier: Apache-2.0
"""The doctor notices each tool that is hidden from it, and names the command that mends it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from mcudeploy import doctor as module
from mcudeploy.codegen.renode_release import RENODE
from mcudeploy.doctor import Check, doctor
from mcudeploy.toolchain import packages, platformio

WITHOUT_NEWLIB = 'case $1 in -dumpfullversion) echo 12.2.1 ;; *) echo "${1#*=}" ;; esac'
"""GCC answers with the bare name of a file that it does not have."""
LINUX_X86 = sys.platform == "linux" and platform.machine() == "x86_64"


def check(name: str) -> Check:
    return next(c for c in doctor() if c.name == name)


def hide_packages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = packages.installed_version
    for place in (module, platformio):
        monkeypatch.setattr(place, "installed_version", lambda n: None if n in names else real(n))


def fake(folder: Path, program: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)


def test_here_all_that_is_required_is_there() -> None:
    checks = doctor()
    assert [c for c in checks if c.required and c.state != "ok"] == []
    assert len({c.name for c in checks}) == len(checks)


def test_it_is_quick() -> None:
    started = time.process_time(), os.times().children_user, time.monotonic()
    doctor()
    # Processor time, for the machine may be busy with other things.
    own = time.process_time() - started[0]
    children = os.times().children_user - started[1]
    assert own + children < 3


def test_every_check_has_a_mend_unless_nothing_is_to_be_done() -> None:
    for entry in doctor():
        assert entry.needed_for and entry.detail
        assert bool(entry.mend) == (entry.state in ("missing", "broken"))


@pytest.mark.parametrize(
    ("distribution", "name"),
    [
        ("tensorflow", "TensorFlow"),
        ("tf-keras", "tf-keras"),
        pytest.param(
            "tflite-micro",
            "tflite-micro",
            marks=pytest.mark.skipif(not LINUX_X86, reason="tflite-micro: Linux on x86-64 only"),
        ),
        ("ai-edge-litert", "LiteRT"),
        ("unicorn", "Unicorn"),
        ("platformio", "PlatformIO with SCons"),
        ("scons", "PlatformIO with SCons"),
    ],
)
def test_a_missing_package_is_noticed(
    monkeypatch: pytest.MonkeyPatch, distribution: str, name: str
) -> None:
    hide_packages(monkeypatch, distribution)
    found = check(name)
    assert found.state == "missing" and found.required
    assert "pip install" in found.mend and distribution in found.mend


@pytest.mark.parametrize(
    ("package", "body", "name"),
    [
        ("ai_edge_litert", "raise ImportError('libfoo.so: cannot open')", "LiteRT"),
        ("unicorn", "import os; os.abort()", "Unicorn"),
    ],
)
def test_a_package_that_fails_or_kills_its_process_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, body: str, name: str
) -> None:
    (tmp_path / f"{package}.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = check(name)
    assert found.state == "broken" and found.mend
    assert "libfoo.so" in found.detail or "kills its process" in found.detail


def test_a_tensorflow_whose_library_does_not_load_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python files are there; the native library is not one for this machine."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("")
    name = "libtensorflow_framework" + (".2.dylib" if sys.platform == "darwin" else ".so.2")
    (tmp_path / "tensorflow" / name).write_text("no library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = check("TensorFlow")
    assert found.state == "broken" and "does not load" in found.detail
    assert "pip install" in found.mend and "tensorflow" in found.mend


def test_without_any_program_on_the_path_each_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    states = {c.name: c for c in doctor()}
    for name in ("Arm GCC with newlib-nano", "C compiler of this machine", "QEMU", "Renode"):
        assert states[name].state == "missing", name
        assert states[name].mend, name
    assert states["Arm GCC with newlib-nano"].required
    assert not states["Renode"].required
    if sys.platform == "linux":
        assert states["QEMU"].mend == "sudo apt-get install qemu-system-arm"


@pytest.mark.parametrize(
    ("program", "script", "name", "detail"),
    [
        ("arm-none-eabi-gcc", "echo 8.3.1", "Arm GCC with newlib-nano", "too old"),
        ("arm-none-eabi-gcc", WITHOUT_NEWLIB, "Arm GCC with newlib-nano", "no newlib-nano"),
        ("arm-none-eabi-gcc", "exit 1", "Arm GCC with newlib-nano", "does not run"),
        ("renode", "echo Renode v1.15.3.21018", "Renode", "older than 1.16.1"),
        ("renode", "exit 1", "Renode", "does not run"),
        ("qemu-system-arm", "echo QEMU emulator version 5.2.0", "QEMU", "older than 7"),
    ],
)
def test_a_program_that_is_too_old_or_not_whole_is_broken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    script: str,
    name: str,
    detail: str,
) -> None:
    fake(tmp_path / "bin", program, script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = check(name)
    assert found.state == "broken" and detail in found.detail and found.mend


@pytest.mark.skipif(sys.platform != "linux", reason="Renode's archives are for Linux")
@pytest.mark.parametrize(
    ("machine", "archive"), [("x86_64", "linux-portable"), ("aarch64", "linux-arm64-portable")]
)
def test_renode_is_got_by_version_and_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, archive: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    mend = module._renode().mend
    assert f"/v1.16.1/renode-1.16.1.{archive}-dotnet.tar.gz" in mend
    assert RENODE.archive(machine)[1] in mend and "sha256sum --check" in mend
    assert "\n" not in mend


@pytest.mark.skipif(sys.platform != "linux", reason="a command for Linux")
def test_the_command_that_gets_renode_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an archive of a Renode that only tells its version, from a file, and its hash."""
    inside = tmp_path / "renode_1.16.1-dotnet_portable"
    fake(inside, "renode", "echo Renode v1.16.1.17033")
    fake(inside, "renode-test", "exit 0")
    packed = tmp_path / "renode.tar.gz"
    with tarfile.open(packed, "w:gz") as made:
        made.add(inside, inside.name)
    address, sha256 = RENODE.archive(platform.machine())
    ours = hashlib.sha256(packed.read_bytes()).hexdigest()
    command = module._get_renode().replace("/tmp/", f"{tmp_path}/down-")
    command = command.replace(address, packed.as_uri())
    home = {**os.environ, "HOME": str(tmp_path / "home")}
    refused = subprocess.run(["sh", "-c", command], env=home, capture_output=True, check=False)
    assert refused.returncode != 0 and not (tmp_path / "home/.local/renode").exists()
    command = command.replace(sha256, ours)
    subprocess.run(["sh", "-c", command], env=home, capture_output=True, check=True)
    monkeypatch.setenv("PATH", f"{tmp_path}/home/.local/bin:{os.environ['PATH']}")
    assert check("Renode").state == "ok"


def test_renode_of_the_right_age_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "renode", "echo Renode, version 1.16.1.12345")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check("Renode").state == "ok"


def test_cmsis_nn_is_looked_for_in_the_cache_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MCUDEPLOY_CMSIS_NN", raising=False)
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path))
    found = check("CMSIS-NN")
    assert found.state == "missing" and "mcudeploy.toolchain.cmsis_nn" in found.mend
    monkeypatch.setenv("MCUDEPLOY_CMSIS_NN", str(tmp_path))
    assert check("CMSIS-NN").state == "broken"


def test_a_python_without_tensorflow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert module._python().state == "broken"


def test_another_system_has_no_golden_reference_and_that_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    found = module._tflite_micro()
    assert found.state == "unavailable" and not found.required and not found.mend
