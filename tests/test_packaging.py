# SPDX-License-Identifier: Apache-2.0
"""The wheel is whole: an installed mcudeploy finds its files from any directory."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import mcudeploy
from mcudeploy.frontend.reference import golden_unavailable

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Modules whose distribution has another name, and those that come with a distribution of ours.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "SCons": "scons",
    "elftools": "pyelftools",
    "flatbuffers": "tflite",
    "keras": "tensorflow",
    "mpl_toolkits": "matplotlib",
    "serial": "pyserial",
}


def build_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network, as it lies in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build_wheel(folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_carries_templates_boards_and_firmware_file_by_file(unpacked: Path) -> None:
    for name in ("templates", "boards", "firmware"):
        inside = unpacked / "mcudeploy" / "data" / name
        ours = {p.relative_to(ROOT / name) for p in (ROOT / name).rglob("*") if p.is_file()}
        assert ours and ours == {p.relative_to(inside) for p in inside.rglob("*") if p.is_file()}


def test_an_installed_package_finds_its_own_files_from_any_directory(
    unpacked: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from mcudeploy.resources import resource_folder\n"
        "for name in ('templates', 'boards', 'firmware'): print(resource_folder(name))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, str(unpacked)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert printed == [
        str(unpacked / "mcudeploy" / "data" / name) for name in ("templates", "boards", "firmware")
    ]


def test_the_wheel_carries_no_tests_and_no_other_top_level_package(unpacked: Path) -> None:
    assert sorted(p.name.partition("-")[0] for p in unpacked.iterdir()) == ["mcudeploy"] * 2


def test_what_the_package_imports_is_declared() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cluster"]]
    declared = {re.match(r"[\w.-]+", d)[0].lower() for d in wanted}  # type: ignore[index]
    imported: dict[str, str] = {}
    for path in sorted((ROOT / "mcudeploy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            imported |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    foreign = {n: p for n, p in imported.items() if n not in sys.stdlib_module_names}
    del foreign["mcudeploy"]
    undeclared = {
        f"{name} ({path})"
        for name, path in foreign.items()
        if DISTRIBUTIONS.get(name, name.replace("_", "-")).lower() not in declared
    }
    assert not undeclared


def test_the_wheel_has_the_version_that_the_package_tells(unpacked: Path) -> None:
    metadata = next(unpacked.glob("*.dist-info")) / "METADATA"
    version = re.search(r"^Version: (.*)$", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    assert version and version[1] == mcudeploy.__version__


@pytest.mark.slow("installs TensorFlow into an empty environment, from the network")
@pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
def test_the_demo_passes_from_a_wheel_installed_elsewhere(tmp_path: Path) -> None:
    """Nothing of this checkout is on the way: another environment, another folder, the wheel."""
    build_wheel(tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    programs = tmp_path / "env" / "bin"
    here = str(Path(sys.executable).parent)
    path = [p for p in os.environ["PATH"].split(os.pathsep) if p != here]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = {**kept, "PATH": os.pathsep.join([str(programs), *path])}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), cwd=elsewhere, env=environment, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # scikit-learn is the demo's data alone.
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, "scikit-learn")
    where = run(programs / "python", "-c", "import mcudeploy; print(mcudeploy.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    shutil.copy(ROOT / "examples/train_lenet.py", elsewhere)
    run(programs / "python", "train_lenet.py", "lenet")
    said = run(programs / "mcudeploy", "deploy", "lenet/lenet.h5", "--board", "stm32f469",
               "--calibration", "lenet/calibration.npz", "--evaluate", "lenet/digits.npz",
               "-o", "lenet/firmware")  # fmt: skip
    assert "PASSED: bit-exact" in said
