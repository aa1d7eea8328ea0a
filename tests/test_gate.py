# SPDX-License-Identifier: Apache-2.0
"""`check` and `verify`: limits, baselines, and a project that is still what was generated."""

from __future__ import annotations

import json
import re

import pytest
from in_process import run_here as run
from test_cli import dense_model

from mcudeploy import api, gate


@pytest.fixture
def dense(tmp_path):
    path = tmp_path / "dense.tflite"
    path.write_bytes(dense_model())
    return path


@pytest.fixture
def project(dense, tmp_path):
    api.generate(dense, "stm32f469", tmp_path / "firmware")
    return tmp_path / "firmware"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    (folder / "dense.tflite").write_bytes(dense_model())
    api.generate(folder / "dense.tflite", "stm32f469", folder / "firmware")
    api.build(folder / "firmware")
    return folder / "firmware"


def test_a_model_within_its_limits_passes(dense):
    done = run("check", dense, "--board", "stm32f469", "--max-ram", "8K", "--max-flash", "64K")
    assert done.returncode == 0 and "PASSED" in done.stdout


def test_a_broken_limit_is_named_with_what_takes_most(dense):
    done = run("check", dense, "--board", "stm32f469", "--max-ram", "3K")
    assert done.returncode == 1
    assert "more than the limit of 3,072" in done.stdout and "sram stack reserve 2,048" in (
        " ".join(done.stdout.split())
    )


def test_a_wrong_limit_is_an_input_error(dense):
    done = run("check", dense, "--board", "stm32f469", "--max-ram", "lots")
    assert done.returncode == 2 and "--max-ram" in done.stderr


def test_a_built_project_is_measured_as_linked_and_counted(built):
    measures = gate.measure_project(built)
    assert measures.sizes == "linked" and measures.counted_by == "unicorn"
    assert measures.instructions >= sum(o.instructions for o in measures.operators)
    assert api.check(built, max_instructions=int(measures.instructions)).passed
    assert not api.check(built, max_instructions=int(measures.instructions) - 1).passed
    assert api.check(built, max_ms=measures.milliseconds + 0.01).passed
    assert "milliseconds" in api.check(built, max_ms=measures.milliseconds / 2).broken[0]


def test_a_limit_on_what_is_not_known_is_an_error_not_a_pass(dense):
    done = run("check", dense, "-b", "stm32f469", "--max-ms", "5")
    assert done.returncode == 2 and "mcudeploy build" in done.stderr


def test_a_baseline_of_itself_changes_nothing(built, tmp_path):
    done = run("check", built, "--json")
    (tmp_path / "baseline.json").write_text(done.stdout)
    again = run("check", built, "--baseline", tmp_path / "baseline.json")
    assert again.returncode == 0 and "nothing changed" in again.stdout


def test_growth_over_the_baseline_fails_unless_it_is_allowed(dense, tmp_path):
    old = run("check", dense, "--board", "stm32f469", "--json")
    (tmp_path / "old.json").write_text(old.stdout)
    dense.write_bytes(dense_model(width=24))
    command = ["check", dense, "-b", "stm32f469", "--baseline", tmp_path / "old.json"]
    done = run(*command, "--markdown", tmp_path / "comment.md")
    assert done.returncode == 1 and "RAM grew from" in done.stdout
    comment = (tmp_path / "comment.md").read_text()
    assert "**failed**" in comment
    assert re.search(r"^\| flash: weights \| \d+ \| \d+ \| \+\d+ \(\+200.0 %\) \|", comment, re.M)
    assert run(*command, "--allow-growth", "200").returncode == 0


def test_operators_are_paired_by_what_they_are():
    def operator(index: int, kind: str, kernel: str = "k", instructions: float = 10):
        return gate.OperatorMeasure(index, kind, kind.lower(), kernel, 1, 1, instructions)

    def measures(*operators: gate.OperatorMeasure):
        total = sum(o.instructions or 0 for o in operators)
        return gate.Measures("m", "", "b", "0", "predicted", "", 1, 1, total, None, (), operators)

    old = measures(operator(0, "CONV_2D"), operator(1, "RELU"), operator(2, "SOFTMAX"))
    new = measures(operator(0, "CONV_2D", "faster", 7), operator(1, "SOFTMAX"), operator(2, "ADD"))
    found = {(c.subject, c.note) for c in gate.compare(old, new)}
    assert found == {("instructions", ""), ("#0 CONV_2D", "k is now faster"), ("#1 RELU", "gone"),
                     ("#2 ADD", "new")}  # fmt: skip


def test_linked_sizes_are_not_compared_with_predicted_ones(built, dense, tmp_path):
    done = run("check", dense, "--board", "stm32f469", "--json")
    (tmp_path / "old.json").write_text(done.stdout)
    refused = run("check", built, "--baseline", tmp_path / "old.json")
    assert refused.returncode == 2 and "do not compare" in refused.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "mcudeploy.check/1"}', "null"])
def test_a_baseline_that_is_none_is_refused(dense, tmp_path, text):
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(gate.InputError, match="baseline is none"):
        api.check(dense, "stm32f469", baseline=tmp_path / "old.json")


def test_names_of_operators_do_not_break_out_of_a_comment():
    from mcudeploy.report.gates import markdown

    change = gate.Change("#0 a|b <img src=x>\n# head", 1, 2, "`x`")
    measures = gate.Measures("m", "", "b", "0", "predicted", "", 1, 1, None, None, (), ())
    text = markdown(gate.Checked(measures, (), (change,)))
    row = text.splitlines()[-1]
    assert row.count("|") - row.count("\\|") == 6 and "<img" not in text


def test_a_fresh_project_is_as_generated(project):
    done = run("verify", project, "--json")
    found = json.loads(done.stdout)["integrity"]
    assert done.returncode == 0 and found["passed"] and found["generated_anew"] == "generated anew"


def test_every_change_by_hand_is_told(project):
    (project / "src/main.c").write_text("int main(void) { return 0; }\n")
    (project / "lib/model/extra.c").write_text("int extra;\n")
    (project / "board.ld").unlink()
    (project / "tests/test_mine.py").write_text("def test_mine(): pass\n")
    (project / "notes.txt").write_text("mine\n")
    found = api.verify_project(project)
    assert (found.changed, found.missing, found.added) == (
        ("src/main.c",), ("board.ld",), ("lib/model/extra.c",)
    )  # fmt: skip
    assert not found.passed


def test_a_change_with_a_forged_hash_is_told_by_generating_anew(project):
    weights = project / "lib/model/model_weights.c"
    forged = weights.read_bytes().replace(b"-5", b"-4", 1)
    manifest = project / "mcudeploy.json"
    from mcudeploy.codegen.output import sha256

    text = manifest.read_text().replace(sha256(weights.read_bytes()), sha256(forged))
    weights.write_bytes(forged)
    manifest.write_text(text)
    found = api.verify_project(project)
    assert found.changed == () and "lib/model/model_weights.c" in found.differing


def test_building_anew_gives_the_same_firmware(built):
    found = api.verify_project(built, build=True)
    assert found.built_anew == "built anew: the same firmware" and found.passed


def test_another_firmware_is_told(built):
    binary = next(built.glob(".pio/build/*/firmware.bin"))
    whole = binary.read_bytes()
    binary.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert api.verify_project(built, build=True).differing == ("firmware.bin",)
    finally:
        binary.write_bytes(whole)


def test_a_library_is_verified_as_well(dense, tmp_path):
    form = api.Form("library", "dense", True)
    api.generate(dense, "stm32f469", tmp_path / "dense", form=form)
    assert api.verify_project(tmp_path / "dense").passed
