# SPDX-License-Identifier: Apache-2.0
"""A project whose network runs row by row, in strips, its input fed by rows: what commands do with
it, from advice to a board at a serial port.
"""

import pytest
from mobile_networks import mobilenet_v1
from test_serial_port import PtyBoard

import mcudeploy


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "network.tflite"
    path.write_bytes(mobilenet_v1(0.25, 64))
    return path


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows") / "firmware"
    return mcudeploy.generate(model, "stm32f469", folder, stream="max", row_fed=True)


@pytest.fixture(scope="module")
def project(made):
    streams = made.deployment.plan.streams
    assert streams[0].segment.fed
    assert any(stream.strips for stream in streams)
    mcudeploy.build(made.folder)
    return made.folder


def test_the_report_says_bytes_and_instructions_before_and_after(model, made):
    before, after = mcudeploy.fit(model, "stm32f469"), made.deployment.report
    note = next(note for note in after.notes if "row by row" in note)
    assert f"{after.certificate.peak_bytes:,} bytes of arena" in note
    assert f"in place of {before.certificate.peak_bytes:,}" in note
    assert "% instructions" in note


def test_a_board_fed_by_rows_is_validated_over_the_serial_link(project):
    with PtyBoard(project) as board:
        tested = mcudeploy.validate(project, port=board.port, random=3)
    (verdict,) = tested.verdicts
    assert verdict.bit_exact, verdict.divergence
    assert verdict.compared_operators == verdict.operators
    assert verdict.distinct_outputs > 1


def test_a_profile_has_all_operators_that_run_by_rows(project):
    profile = mcudeploy.profile(project)
    counts = [one.instructions for one in profile.operators]
    assert all(count > 0 for count in counts)
    assert all(one.cycles for one in profile.operators)
    assert profile.cycles > profile.zero_wait_cycles > sum(counts)
    macs = sum(one.macs for one in profile.operators)
    assert 0.5 * macs < sum(counts) <= profile.instructions
