# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: verdicts, exit codes, and wrong inputs answered in words."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from in_process import run_here
from tflite_builder import ModelBuilder


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "mcudeploy.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


def refusal(*arguments, cwd=None):
    """The message of a command that must end with exit code 2 and nothing on standard output."""
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    return done.stderr


def dense_model(width=8, **quantization):
    builder = ModelBuilder()
    x = builder.input((1, 16), scale=0.1, zero_point=-3)
    weights = np.arange(width * 16).reshape(width, 16) % 11 - 5
    w = builder.constant(weights.astype(np.int8), scale=0.02)
    b = builder.constant(np.arange(width, dtype=np.int32), scale=0.002)
    y = builder.operator(
        "FULLY_CONNECTED", [x, w, b], builder.tensor((1, width), scale=0.2, zero_point=4)
    )
    return builder.build(outputs=[y])


@pytest.fixture
def dense(tmp_path):
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense_model())
    return path


def test_fit_says_yes_with_exit_code_0(dense):
    done = run("fit", dense, "--board", "stm32f469")
    assert done.returncode == 0, done.stderr
    assert "FITS" in done.stdout and "FULLY_CONNECTED" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_fit_says_no_with_exit_code_1_region_operator_and_bytes(dense):
    done = run("fit", dense, "--board", "stm32f469", "--ram", "3K")
    assert done.returncode == 1, done.stderr
    assert "DOES NOT FIT" in done.stdout and "sram is over by" in done.stdout
    assert "#0 FULLY_CONNECTED" in done.stdout


def test_fit_says_no_when_the_arena_cannot_keep_its_budget(dense):
    done = run("fit", dense, "--board", "stm32f469", "--ram-budget", "8")
    assert done.returncode == 1, done.stderr
    assert "DOES NOT FIT" in done.stdout and "over --ram-budget" in " ".join(done.stdout.split())


def test_json_is_one_object_and_nothing_else(dense):
    done = run("fit", dense, "--board", "stm32f469", "--json")
    document = json.loads(done.stdout)
    assert document["schema"] == "mcudeploy.fit/1"
    assert document["report"]["fits"] is True
    assert document["report"]["operators"][0]["macs"] == 128


def test_an_unknown_board_offers_the_nearest(dense):
    message = refusal("fit", dense, "--board", "stm32f468")
    assert "no board 'stm32f468'" in message and "stm32f469" in message


def test_a_wrong_size_is_explained(dense):
    assert "not a size" in refusal("fit", dense, "--board", "stm32f469", "--ram", "lots")


def test_a_missing_model_is_named(tmp_path):
    assert "nowhere.h5" in refusal("fit", tmp_path / "nowhere.h5", "--board", "stm32f469")


@pytest.mark.parametrize("name", ["empty.tflite", "empty.h5", "empty.keras"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert "empty" in refusal("fit", tmp_path / name, "--board", "stm32f469")


def test_a_truncated_tflite_is_refused(dense):
    dense.write_bytes(dense.read_bytes()[:300])
    refusal("fit", dense, "--board", "stm32f469")


def test_a_jpeg_renamed_h5_is_recognized(tmp_path):
    path = tmp_path / "cat.h5"
    path.write_bytes(bytes.fromhex("ffd8ffe000104a46494600") + bytes(500))
    assert "JPEG" in refusal("fit", path, "--board", "stm32f469")


def test_a_truncated_h5_is_refused(real_model, tmp_path):
    path = tmp_path / "half.h5"
    path.write_bytes(real_model("mnist_dw.h5").read_bytes()[:20_000])
    refusal("fit", path, "--board", "stm32f469")


def test_a_float_tflite_is_refused_with_the_remedy(tmp_path):
    builder = ModelBuilder()
    x = builder.input((1, 16), dtype="float32")
    w = builder.constant(np.ones((4, 16), np.float32))
    y = builder.operator("FULLY_CONNECTED", [x, w], builder.tensor((1, 4), dtype="float32"))
    path = tmp_path / "float.tflite"
    path.write_bytes(builder.build(outputs=[y]))
    message = refusal("fit", path, "--board", "stm32f469")
    assert "float" in message and "quantize" in message


def test_every_unsupported_operator_is_listed_at_once(tmp_path):
    builder = ModelBuilder()
    x = builder.input((1, 4, 4, 2), scale=0.1)
    y = builder.operator("L2_NORMALIZATION", [x], builder.tensor((1, 4, 4, 2), scale=1 / 128))
    z = builder.operator("CUMSUM", [y, builder.constant(np.array(1, np.int32))],
                         builder.tensor((1, 4, 4, 2), scale=0.1))  # fmt: skip
    path = tmp_path / "exotic.tflite"
    path.write_bytes(builder.build(outputs=[z]))
    message = refusal("fit", path, "--board", "stm32f469")
    assert "L2_NORMALIZATION" in message and "CUMSUM" in message and "2 of 2 operators" in message


def test_an_output_folder_that_holds_something_else_is_left_alone(dense, tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.txt").write_text("once")
    message = refusal("generate", dense, "--board", "stm32f469", "-o", other)
    assert "something else" in message
    assert [p.name for p in other.iterdir()] == ["chapter1.txt"]


def test_building_what_is_no_project_is_refused(tmp_path):
    assert "no project" in refusal("build", tmp_path)


def test_testing_before_building_says_what_to_do(dense, tmp_path):
    project = tmp_path / "firmware"
    assert run("generate", dense, "--board", "stm32f469", "-o", project).returncode == 0
    assert f"mcudeploy build {project}" in refusal("test", project)


def test_a_calibration_for_a_tflite_is_pointless_and_said(dense, tmp_path):
    data = tmp_path / "x.npy"
    np.save(data, np.zeros((3, 16), np.float32))
    message = refusal("generate", dense, "-b", "stm32f469", "-o", tmp_path / "o",
                      "--calibration", data)  # fmt: skip
    assert "quantized already" in message


def test_a_missing_compiler_is_named_with_the_command_that_brings_it(dense, tmp_path, monkeypatch):
    project = tmp_path / "firmware"
    assert run("generate", dense, "--board", "stm32f469", "-o", project).returncode == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refusal("build", project)
    assert "arm-none-eabi-gcc" in message and "apt" in message


def test_two_runs_give_byte_identical_projects(dense, tmp_path):
    for name in ("one", "two"):
        assert run("generate", dense, "-b", "stm32f469", "-o", tmp_path / name).returncode == 0
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")
         if p.is_file()}
        for n in ("one", "two")
    )  # fmt: skip
    assert one and one == two


def test_generating_again_keeps_what_the_user_added(dense, tmp_path):
    project = tmp_path / "firmware"
    run("generate", dense, "-b", "stm32f469", "-o", project)
    (project / "tests/test_mine.py").write_text("def test_mine(): pass\n")
    (project / "tests/test_model.py").write_text("# mine now\n")
    (project / "src/main.c").write_text("broken")
    assert run("generate", dense, "-b", "stm32f469", "-o", project).returncode == 0
    assert (project / "tests/test_mine.py").exists()
    assert (project / "tests/test_model.py").read_text() == "# mine now\n"
    assert "broken" not in (project / "src/main.c").read_text()


def test_debug_shows_the_traceback_and_a_plain_run_does_not(tmp_path):
    assert "Traceback" in run("--debug", "build", tmp_path).stderr
    assert "Traceback" not in run("build", tmp_path).stderr


def test_an_unknown_option_is_a_usage_error(dense):
    assert "--bord" in refusal("fit", dense, "--bord", "stm32f469")


WRONG = """
fit FOLDER -b stm32f469                                   | no SavedModel
fit text.keras -b stm32f469                               | of no format
fit dense.tflite -b nowhere/board.toml                    | cannot read the board file
fit dense.tflite -b stm32f469 --ram-budget 10Q            | not a size
fit dense.tflite -b stm32f469 --evaluate text.npz         | neither an .npz nor an .npy
fit dense.tflite -b stm32f469 --evaluate nowhere.npz      | the data does not exist
fit dense.tflite -b stm32f469 --html FOLDER               | is a folder, not a file
fit dense.tflite -b stm32f469 --plot dense.tflite/a.png   | no file can be written there
generate dense.tflite -b stm32f469 -o o --labels FOLDER   | cannot read the labels: Is a directory
generate dense.tflite -b stm32f469 -o dense.tflite        | a file, not a folder
deploy dense.tflite -b stm32f469 -o o -e quemu            | no emulator 'quemu'
quantize dense.tflite -o FOLDER                           | is a folder, not a file
build nowhere                                             | the project folder does not exist
test dense.tflite                                         | a file, and no project folder
test FOLDER --seed -1                                     | greater than or equal to 0
validate FOLDER --port x --baud 0                         | greater than or equal to 1
profile FOLDER --compare nowhere                          | no project of mcudeploy
profile FOLDER --plot bars.doc                            | a picture cannot be written as .doc
check dense.tflite                                        | held to limits on a board
check FOLDER --max-ms nan                                 | greater than or equal to 0
verify nowhere                                            | the project folder does not exist
explore mobilnet -b stm32f469                             | did you mean mobilenet
explore lenet -b stm32f46                                 | did you mean
explore lenet -b stm32f469 --latency-ms -1                | greater than or equal to 0
explore --search -b stm32f469 --data text.npz             | neither an .npz nor an .npy
zoo build lenet5 -o dense.tflite/m.keras                  | no file can be written there
zoo build lenet5 -o m.keras --seed -1                     | greater than or equal to 0
pack text.keras                                           | no column 'id'
pack nowhere.csv                                          | cannot read the file
plan nowhere.tflite -o o.tflite                           | cannot read the model
boards stm32f46                                           | did you mean
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines(), ids=lambda line: line.split(" |")[0])
def test_wrong_input_is_answered_in_words(line, dense, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    for name in ("text.keras", "text.npz"):
        (tmp_path / name).write_text("once upon a time\n")
    command, words = (part.strip() for part in line.split(" |"))
    before = sorted(tmp_path.rglob("*"))
    done = run_here(*command.split())
    assert (done.returncode, done.stdout) == (2, ""), done
    assert words in " ".join(done.stderr.split())
    assert re.search("mend: |Error: Invalid value|write it like", done.stderr), done.stderr
    assert "internal error" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
