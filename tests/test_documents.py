# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: every command in it runs, every page is reached, every link leads.

A page's blocks of shell and Python run in order in one folder, which holds the files that
document_files.py makes. A comment in front of a block tells what else is to be expected:

    <!-- test: nightly, REASON -->     it takes long
    <!-- test: no, REASON -->          it cannot run here
    <!-- test: exit 0 1 -->            its exit codes, 0 otherwise
    <!-- test: models -->              it needs MCUDEPLOY_MODELS, the folder of real models
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from document_files import write_files, write_keras_file

from mcudeploy.cli import app  # noqa: F401  # what the hook imports, so that a failure shows here

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?:^ *<!-- test: (?P<rule>[^>]*?) -->\n)?^(?P<indent> *)```(?P<language>sh|python)\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A piece of shell or Python in a page."""

    language: str
    text: str
    rule: str

    @property
    def nightly(self) -> bool:
        return self.rule.startswith("nightly")

    @property
    def runs(self) -> bool:
        if self.rule == "models" and not os.environ.get("MCUDEPLOY_MODELS"):
            return False
        return not self.rule.startswith("no,")

    @property
    def exit_codes(self) -> set[int]:
        words = self.rule.split()
        return {int(word) for word in words[1:]} if words[:1] == ["exit"] else {0}


def blocks(page: Path) -> list[Block]:
    return [
        Block(found["language"], textwrap.dedent(found["text"]), found["rule"] or "")
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def readme_commands() -> list[str]:
    """The commands of mcudeploy in README's indented lines, without the words behind them."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [
        re.split(r"\s{2,}", line.strip())[0] for line in lines if line.startswith("    mcudeploy ")
    ]


def execute(block: Block, folder: Path) -> None:
    """Run a block as a user would, mcudeploy first on the path."""
    command = ["sh", "-e", "-c", block.text]
    if block.language == "python":
        command = [sys.executable, "-c", block.text]
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=900,
        stdin=subprocess.DEVNULL, env={**os.environ, "PATH": os.pathsep.join(paths)},
    )  # fmt: skip
    told = f"$ {block.text}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in block.exit_codes, told
    assert "Traceback" not in done.stderr, told


def with_commands(*, nightly: bool) -> list[Path]:
    """Pages with a block to run; those that hold a nightly one run wholly then."""
    found = []
    for page in PAGES:
        running = [block for block in blocks(page) if block.runs]
        if any(block.nightly or not nightly for block in running):
            found.append(page)
    return found


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def by_time(pages: list[Path]) -> list[object]:
    """Pages as parameters; of those that build firmware only the quick start is run every time."""
    made = []
    for page in pages:
        text = "".join(block.text for block in blocks(page))
        builds = re.search(r"mcudeploy[ .](build|deploy)", text) and page.stem != "quick-start"
        marks = [pytest.mark.slow("builds firmware")] if builds else []
        made.append(pytest.param(page, id=name_of(page), marks=marks))
    return made


@pytest.mark.parametrize("page", by_time(with_commands(nightly=False)))
def test_the_commands_of_a_page_run(page, tmp_path):
    write_files(tmp_path)
    for block in blocks(page):
        if block.runs and not block.nightly:
            execute(block, tmp_path)


@pytest.mark.slow("converts with TensorFlow")
@pytest.mark.parametrize("page", with_commands(nightly=True), ids=name_of)
def test_the_long_commands_of_a_page_run(page, tmp_path):
    write_files(tmp_path)
    write_keras_file(tmp_path)
    for block in blocks(page):
        if block.runs:
            execute(block, tmp_path)


@pytest.mark.slow("converts with TensorFlow")
def test_the_commands_of_the_readme_run(tmp_path):
    write_files(tmp_path)
    write_keras_file(tmp_path)
    assert len(readme_commands()) >= 8
    for command in readme_commands():
        rule = "exit 0 1" if "--ram" in command else "exit 0 2" if "doctor" in command else ""
        execute(Block("sh", command, rule), tmp_path)
    python = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert python
    for block in python:
        execute(block, tmp_path)


def test_every_block_of_shell_is_tested_or_says_why_not():
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        assert text.count("```sh") + text.count("```python") == len(blocks(page)), page
        assert "```bash" not in text and "```shell" not in text and "```console" not in text, page


def site() -> dict:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("docs_hook", ROOT / "scripts/docs_hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_every_page_is_in_the_navigation_and_every_entry_has_a_page():
    listed = set(re.findall(r"[\w/-]+\.md", str(site()["nav"])))
    assert listed == {name_of(page) for page in PAGES} | set(generated())


def test_links_and_pictures_lead_somewhere():
    pages = {name_of(page): page.read_text(encoding="utf-8") for page in PAGES} | generated()
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" in target:
                continue
            path = os.path.normpath(Path(name).parent / target)
            assert path in pages or (DOCS / path).is_file(), f"{name} links to {target}"


def test_the_reference_knows_every_command_and_option():
    text = generated()["commands.md"]
    for command in ("fit", "deploy", "check", "verify", "zoo list"):
        assert f"## mcudeploy {command}\n" in text
    assert "`--max-ram`" in text and "`--html`" in text and "0..1 or -1..1" in text
    assert "## stm32f469" in generated()["boards.md"]


@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None,
    reason="mkdocs-material is not installed: `make docs` brings it",
)
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = re.findall(r'(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href)="([^"]+)"',
                            page.read_text(encoding="utf-8"))  # fmt: skip
        assert not [address for address in loaded if "//" in address], page


@pytest.mark.slow("deploys a network")
def test_the_workflow_for_github_runs(tmp_path):
    write_files(tmp_path)
    steps = yaml.safe_load((ROOT / "examples/ci/github-actions.yml").read_text())
    environment = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    commands = {
        step["name"]: step["run"]
        for step in steps["jobs"]["firmware"]["steps"]
        if "run" in step and step["name"] != "Set up"
    }
    assert list(commands)[1:] == ["Limits", "Summary"]
    for name, command in commands.items():
        if name == "Limits":
            execute(Block("sh", "mcudeploy check firmware --json > baseline.json", ""), tmp_path)
        exports = "".join(f"export {key}='{value}'\n" for key, value in environment.items())
        execute(Block("sh", exports + command, ""), tmp_path)
    assert "on stm32f469: passed" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_pre_commit_hook_lets_a_small_network_through_and_stops_a_large_one(tmp_path):
    write_files(tmp_path)
    config = yaml.safe_load((ROOT / "examples/ci/pre-commit-config.yaml").read_text())
    (hook,) = config["repos"][0]["hooks"]
    assert re.search(hook["files"], "model.tflite") and hook["pass_filenames"] is False
    execute(Block("sh", hook["entry"], ""), tmp_path)
    execute(Block("sh", hook["entry"].replace("64K", "4K"), "exit 1"), tmp_path)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_targets_that_the_documentation_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in [*PAGES, ROOT / "README.md"]:
        for target in re.findall(
            r"`make (\w+)`|^(?:    )?make (\w+)", page.read_text(), re.MULTILINE
        ):
            assert re.search(rf"^{target[0] or target[1]}:", makefile, re.MULTILINE), page


def test_the_tour_from_python_runs(tmp_path):
    write_files(tmp_path)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/tour.py"), str(tmp_path / "lenet.tflite")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"fits (\d+) KiB of RAM, not \d+", done.stdout)
    assert "stm32f469            fits" in done.stdout and "proven bound" in done.stdout
