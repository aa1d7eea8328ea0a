# SPDX-License-Identifier: Apache-2.0
"""The fuzzers' corpus, replayed, and a few thousand mutations; `make fuzz` runs far more."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
TARGETS = ("tflite", "board", "manifest", "baseline", "buffers", "frames")
REPLAY = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int main(int count, char **names)
{
    for (int i = 1; i < count; i++) {
        uint8_t *data = malloc(1 << 16);
        FILE *file = fopen(names[i], "rb");
        size_t size = fread(data, 1, 1 << 16, file);
        LLVMFuzzerTestOneInput(data, size);
        for (size_t cut = 0; cut < size; cut++) {   /* and every beginning, and every bit flipped */
            LLVMFuzzerTestOneInput(data, cut);
            data[cut] ^= (uint8_t)(1u << (cut % 8));
            LLVMFuzzerTestOneInput(data, size);
            data[cut] ^= (uint8_t)(1u << (cut % 8));
        }
        fclose(file);
        free(data);
    }
    return 0;
}
"""


def targets():
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_raises_nothing_but_clear_errors(target):
    paths = sorted((FUZZ / "corpus" / target).iterdir())
    outcomes = {targets().run_one(target, path.read_bytes()) for path in paths}
    assert "accepted" in outcomes  # a seed that is refused tests nothing


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_raise_nothing_but_clear_errors(target):
    done = subprocess.run(
        [sys.executable, str(FUZZ / "mutate.py"), target, "--cases", "600", "--seconds", "10"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 found" in done.stdout


def test_a_finding_fails_the_run(tmp_path):
    """The fuzzer itself must be able to fail: a target that raises, hangs, grows and dies."""
    copy = tmp_path / "fuzz"
    shutil.copytree(FUZZ / "corpus/frames", copy / "corpus/frames")
    shutil.copy(FUZZ / "mutate.py", copy)
    (copy / "targets.py").write_text(
        "import os\nTARGETS = {'frames': None}\ncalls = 0\n"
        "def run_one(target, data):\n"
        "    global calls\n    calls += 1\n"
        "    if calls == 2: raise KeyError('a defect')\n"
        "    if calls == 3: bytearray(3 << 30)\n"
        "    if calls == 4: os.abort()\n"
        "    return 'accepted'\n"
    )
    done = subprocess.run(
        [sys.executable, str(copy / "mutate.py"), "frames", "--cases", "10"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    for word in ("KeyError", "MemoryError", "ended with -6", "3 found"):
        assert word in done.stdout
    assert len(list((copy / "found").iterdir())) == 3


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler for this machine")
def test_the_firmwares_frame_decoder_stays_in_its_bounds(tmp_path):
    (tmp_path / "replay.c").write_text(REPLAY)
    runtime = FUZZ.parent / "firmware/runtime"
    program = tmp_path / "replay"
    subprocess.run(
        ["gcc", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{runtime}",
         tmp_path / "replay.c", FUZZ / "frame_fuzzer.c", runtime / "frame.c", runtime / "crc32.c",
         "-o", program],
        check=True,
    )  # fmt: skip
    corpus = sorted((FUZZ / "corpus/frames").iterdir())
    done = subprocess.run([program, *corpus], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
