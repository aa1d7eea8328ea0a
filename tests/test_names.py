# SPDX-License-Identifier: Apache-2.0
"""Names of models, tensors and classes are a stranger's text: they stay text wherever they go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from in_process import run_here
from tflite_builder import ModelBuilder

from mcudeploy import api

NASTY = (
    '";system("touch pwned");//',
    "*/ #error out /*",
    "line\nbreak\r\n#define int char",
    "back\\slash\\",
    "??/\n??>",
    "../../../../tmp/pwned",
    "$(touch pwned)`touch pwned`;touch pwned",
    "{{ 7 * 191 }}{% include '/etc/passwd' %}",
    "${sysenv.HOME} %(x)s [env:evil]",
    "<script>alert(1)</script>",
    "int",
    "ünïcödé \U0001f600 \u202egnp.exe",
    "\x00\x01\x7f\u0085\u2028",
    "x" * 10_000,
    "",
)


def model(names: tuple[str, ...]) -> bytes:
    """A chain of dense layers; every tensor has a name of the list.

    No two layers have the same shape: steps that repeat would become one loop with one name.
    """
    builder = ModelBuilder()
    value = builder.input((1, 8), scale=0.1, name=names[0])
    for width, name in enumerate(names, 9):
        kept = np.eye(width, width - 1, dtype=np.int8)
        weights = builder.constant(kept, scale=0.1, name=names[-1])
        made = builder.tensor((1, width), scale=0.1, name=name)
        value = builder.operator("FULLY_CONNECTED", [value, weights], made)
    return builder.build([value])


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The project of a model whose every name is nasty, its file's and its classes' included."""
    folder = tmp_path_factory.mktemp("names")
    file = folder / 'a "b" $(touch pwned); {{ 7 * 191 }} *\u2215 #.tflite'
    file.write_bytes(model(NASTY))
    labels = folder / "labels.txt"
    labels.write_text("\n".join(name.replace("\n", " ").replace("\r", " ") for name in NASTY),
                      encoding="utf-8", errors="replace")  # fmt: skip
    done = run_here("generate", file, "-b", "stm32f469", "-o", folder / "firmware",
                    "--labels", labels)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "firmware"


def test_it_compiles_without_a_warning_and_is_bit_exact(project):
    built = api.build(project)
    assert built.warnings == () and built.fits
    tested = api.test(project, random=3)
    assert tested.verdicts[0].bit_exact


def test_nothing_was_executed_or_written_elsewhere(project):
    assert sorted(p.name for p in project.parent.iterdir() if p.name != "firmware") == sorted(
        ['a "b" $(touch pwned); {{ 7 * 191 }} *\u2215 #.tflite', "labels.txt"]
    )
    assert not list(project.rglob("*pwned*"))
    for path in project.rglob("*"):
        assert ".." not in path.name and path.name.isascii()


def test_no_template_was_evaluated(project):
    for path in project.rglob("*"):
        if path.suffix in (".c", ".h", ".ini", ".md", ".py", ".json", ".ld") and path.is_file():
            assert "1337" not in path.read_text(errors="replace") or path.name.endswith("weights.c")


def test_generated_files_are_plain_text_of_sane_lines(project):
    for folder in ("lib/model", "src"):
        for path in (project / folder).glob("*.[ch]"):
            text = path.read_bytes()
            assert text.isascii() and b"\r" not in text and b"\x00" not in text
            if "weights" not in path.name:
                assert max(map(len, text.splitlines())) < 400


def test_names_stay_in_their_json(project, tmp_path):
    done = run_here("check", project, "--json", "--markdown", tmp_path / "comment.md")
    names = [o["name"] for o in json.loads(done.stdout)["measures"]["operators"]]
    assert len(names) == len(NASTY)
    assert "<script" not in (tmp_path / "comment.md").read_text()


def test_the_terminal_gets_no_control_characters(project):
    done = run_here("fit", next(project.parent.glob("*.tflite")), "-b", "stm32f469")
    assert done.returncode == 0
    assert not [c for c in done.stdout if ord(c) < 32 and c != "\n"]


def test_the_same_names_as_a_library_compile(project, tmp_path):
    out = tmp_path / "library"
    done = run_here("generate", next(project.parent.glob("*.tflite")), "-b", "stm32f469",
                    "-o", out, "--as", "library", "--prefix", "nasty")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for source in out.glob("src/nasty*.c"):
        subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                        f"-I{out / 'src'}", source], check=True)  # fmt: skip
