# SPDX-License-Identifier: Apache-2.0
"""The workflow that a project carries: its commands are run here, with an archive of stand-ins.

The archive holds what Renode's does at the places where the workflow looks for it: `renode` (the
stand-in of test_emulator_renode.py), `renode-test` (Robot with keywords that run on Unicorn), and
`tests/requirements.txt`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from test_cli import dense_model

from mcudeploy import __version__, api
from mcudeploy.codegen.renode_release import RENODE
from mcudeploy.frontend.reference import golden_unavailable
from mcudeploy.resources import cache_folder

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(__file__).resolve().parent
RENODE_TEST = """\
import os, sys
from pathlib import Path
import robot
assert sys.argv[1] == "--results-dir"
suite = Path(sys.argv[3])
head = "*** Settings ***\\n"
copy = suite.with_name("copy.robot")
copy.write_text(suite.read_text().replace(head, head + "Library    {KEYWORDS}\\n"))
skipped = {"settag": "left out", "skip": "left out"} if os.environ.get("SKIP") else {}
sys.exit(robot.run(str(copy), outputdir=sys.argv[2], output="robot_output.xml", **skipped))
"""
pytestmark = [
    pytest.mark.skipif(
        not all(map(shutil.which, ("bash", "curl", "sha256sum", "tar"))),
        reason="the workflow is for Linux: bash, curl, sha256sum, tar",
    ),
    pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable())),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "dense.tflite").write_bytes(dense_model())
    api.generate(folder / "dense.tflite", "stm32f469", folder / "firmware")
    return folder / "firmware"


@pytest.fixture(scope="module")
def workflow(project: Path) -> dict:
    return yaml.safe_load((project / ".github/workflows/renode.yml").read_text())


def script(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is downloaded: one folder, as in Renode's portable archives."""
    folder = tmp_path_factory.mktemp("archive")
    inside = folder / "renode_1.16.1-dotnet_portable"
    (inside / "tests").mkdir(parents=True)
    (inside / "tests/requirements.txt").write_text("")
    keywords = RENODE_TEST.replace("{KEYWORDS}", str(TESTS / "renode_keywords.py"))
    (inside / "renode_test.py").write_text(keywords)
    environment = f"env PYTHONPATH={ROOT}"
    script(inside / "renode", f"{environment} {sys.executable} {TESTS}/renode_stand_in.py")
    script(inside / "renode-test", f"{environment} {sys.executable} {inside}/renode_test.py")
    with tarfile.open(folder / "renode.tar.gz", "w:gz") as made:
        made.add(inside, inside.name)
    return folder / "renode.tar.gz"


class Runner:
    """Runs steps as the service does: bash, its variables, and the path that steps add to."""

    def __init__(self, project: Path, workflow: dict, archive: Path, home: Path) -> None:
        self.steps = {
            s["name"]: s["run"] for s in workflow["jobs"]["renode"]["steps"] if "run" in s
        }
        self._path_file = home / "path"
        self._path_file.touch()
        self._folder = project
        own = {
            "HOME": str(home),
            "GITHUB_PATH": str(self._path_file),
            "RENODE_URL": archive.as_uri(),
            "RENODE_SHA256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        }
        kept = {
            k: v for k, v in os.environ.items() if k.startswith(("PATH", "PYTHON", "MCUDEPLOY"))
        }
        kept["MCUDEPLOY_CACHE"] = str(cache_folder())
        self.environment = {**kept, **workflow["env"], **own}

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        added = [str(Path(sys.executable).parent), *self._path_file.read_text().split()]
        path = os.pathsep.join([*reversed(added), self.environment["PATH"]])
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self.steps[name]], cwd=self._folder,
            env={**self.environment, "PATH": path}, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip

    def done(self, name: str) -> str:
        done = self.run(name)
        assert done.returncode == 0, f"{name}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def runner(project: Path, workflow: dict, archive: Path, tmp_path: Path) -> Runner:
    """Nothing is installed yet."""
    return Runner(project, workflow, archive, tmp_path)


@pytest.fixture(scope="module")
def installed(
    project: Path, workflow: dict, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Runner:
    """Renode is installed, and the firmware built."""
    made = Runner(project, workflow, archive, tmp_path_factory.mktemp("home"))
    made.done("Renode, by version and hash")
    made.done("Build")
    return made


def test_the_release_is_pinned_by_version_and_hash(workflow: dict, runner: Runner) -> None:
    assert workflow["env"]["RENODE_URL"].endswith(
        "/v1.16.1/renode-1.16.1.linux-portable-dotnet.tar.gz"
    )
    assert workflow["env"]["RENODE_SHA256"] == RENODE.sha256
    assert re.fullmatch(r"[0-9a-f]{64}", RENODE.sha256)
    assert re.fullmatch(r"[0-9a-f]{64}", RENODE.sha256_arm64)
    assert f"pip install mcudeploy=={__version__}\n" in runner.steps["Compiler and mcudeploy"]


def test_another_archive_is_refused_before_it_is_unpacked(runner: Runner, tmp_path: Path) -> None:
    runner.environment["RENODE_SHA256"] = RENODE.sha256
    assert runner.run("Renode, by version and hash").returncode != 0
    assert not (tmp_path / "renode").exists()


def test_every_step_passes(installed: Runner) -> None:
    assert "instructions per inference" in installed.done("The Robot suite")
    assert "tests: PASS PASS" in installed.done("Every test ran and passed")
    assert "renode: bit-exact" in installed.done("Every operator against the golden reference")


def test_a_skipped_test_is_a_failure(
    installed: Runner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / "results", ignore_errors=True)
    monkeypatch.setitem(installed.environment, "SKIP", "1")
    installed.done("The Robot suite")  # Robot itself is content
    done = installed.run("Every test ran and passed")
    assert done.returncode == 1 and "tests: SKIP SKIP" in done.stdout


def test_a_suite_that_did_not_run_is_a_failure(installed: Runner, project: Path) -> None:
    shutil.rmtree(project / "results", ignore_errors=True)
    assert installed.run("Every test ran and passed").returncode == 1


def test_without_renode_the_comparison_is_a_failure(installed: Runner, runner: Runner) -> None:
    done = runner.run("Every operator against the golden reference")
    assert done.returncode == 2 and "Renode is not installed" in done.stderr
