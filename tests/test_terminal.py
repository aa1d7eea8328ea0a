# SPDX-License-Identifier: Apache-2.0
"""What a person reads: 80 columns, plain text where there is no terminal, and no words that are
colour alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from document_files import lenet_tflite
from in_process import run_here
from test_cli import dense_model

LONG = "a_network_whose_name_is_longer_than_a_terminal_of_eighty_columns_and_yet_is_one_word"
COMMANDS = """
fit lenet.tflite -b stm32f469
fit lenet.tflite -b stm32f469 --ram 3K
fit lenet.tflite -b stm32f469 --dtype float32 --weights-in ram --ram 256K
fit NAME.tflite -b nucleo_h743zi
generate NAME.tflite -b stm32f469 -o NAME
generate dense.tflite -b stm32f469 -o firmware
build firmware
test firmware --random 1
check firmware
check firmware --max-ram 1K
check lenet.tflite -b stm32f469 --max-ram 3K --max-flash 4K
verify firmware
profile firmware
profile firmware --compare firmware
boards
boards stm32f469
boards mps3_an547
zoo list
zoo verify lenet5
zoo verify mobilenet_v1
pack buffers.csv
explore lenet -b stm32f469 --processes 1
explore lenet -b stm32f469 -b nucleo_f401re --processes 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("terminal")
    for name in ("lenet", LONG):
        (made / f"{name}.tflite").write_bytes(lenet_tflite())
    (made / "dense.tflite").write_bytes(dense_model())
    (made / "buffers.csv").write_text("id,lower,upper,size\na,0,2,64\nb,1,3,32\n")
    return made


def test_all_that_is_printed_fits_80_columns_and_is_plain_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for line in COMMANDS.replace("NAME", LONG).split("\n"):
        if not line:
            continue
        if line.startswith("test "):
            shutil.rmtree("firmware/tests")  # a process of their own each time
        done = run_here(*line.split())
        assert done.returncode in (0, 1), f"{line}: {done.stderr}"
        assert done.stdout and "\x1b" not in done.stdout, line
        widest = max(done.stdout.splitlines(), key=len)
        assert len(widest) <= 80, f"{line}: {widest}"


def test_a_command_that_is_to_be_copied_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lines = run_here("doctor").stdout.splitlines()
    mends = [line for line in lines if line.startswith("    ") and line[4:5].strip()]
    assert any("sha256sum --check" in line and line.endswith("~/.local/bin/") for line in mends)
    assert all(len(line) <= 80 for line in lines if line not in mends)


def test_a_verdict_is_a_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour only repeats it: pipes and those who do not see colours read the same."""
    monkeypatch.chdir(folder)
    for line, word in (
        ("fit lenet.tflite -b stm32f469", "FITS"),
        ("fit lenet.tflite -b stm32f469 --ram 3K", "DOES NOT FIT"),
        ("check lenet.tflite -b stm32f469 --max-ram 64K", "PASSED"),
        ("check lenet.tflite -b stm32f469 --max-ram 3K", "FAILED"),
    ):
        assert word in run_here(*line.split()).stdout
