# SPDX-License-Identifier: Apache-2.0
"""The HTML report: whole in one file, right in a browser, and safe from what models are named."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from in_process import run_here
from tflite_builder import ModelBuilder

from mcudeploy import api
from mcudeploy.advice import Remedy
from mcudeploy.board import find_board
from mcudeploy.explore import explore
from mcudeploy.explore.candidate import Member, measure
from mcudeploy.explore.search import Found
from mcudeploy.report import html
from mcudeploy.report.html_explorations import explore_page, search_page
from mcudeploy.verify import Divergence, Verdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
NASTY = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\n&amp;"


def network(operators: int, name: str = "") -> bytes:
    """A chain of additions in which every value is read twice, after a dense layer."""
    builder = ModelBuilder()
    x = builder.input((1, 16), scale=0.1, name=name or "x")
    weights = builder.constant(np.eye(16, dtype=np.int8), scale=0.02)
    values = [x, builder.tensor((1, 16), scale=0.1, name=name or "dense")]
    builder.operator("FULLY_CONNECTED", [x, weights], values[1])
    for number in range(operators - 1):
        made = builder.tensor((1, 16), scale=0.1, name=f"{name}{number}")
        values.append(builder.operator("ADD", values[-2:], made))
    return builder.build(outputs=[values[-1]])


def deployment(tmp_path: Path, operators: int = 5, name: str = "", **options: str):
    path = tmp_path / "net.tflite"
    path.write_bytes(network(operators, name))
    return api.prepare(path, "stm32f469", **options)


def text_of(tmp_path: Path, operators: int = 5, name: str = "", **options: str) -> str:
    commands = ("mcudeploy fit net.tflite --board stm32f469",)
    return html.render(html.fit_page(deployment(tmp_path, operators, name, **options),
                                     commands=commands))  # fmt: skip


class Seen(HTMLParser):
    """The tags, attributes and plain text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_says_what_the_terminal_says(tmp_path):
    text = " ".join(Seen(text_of(tmp_path)).text)
    for word in ("FITS", "sram", "activations", "FULLY_CONNECTED", "lower bound", "SHA-256",
                 "mcudeploy fit net.tflite", "instructions, predicted", "time, predicted",
                 "at 180 MHz"):  # fmt: skip
        assert word in text


def test_a_model_that_does_not_fit_is_shown_with_the_region_and_the_bytes(tmp_path):
    text = " ".join(Seen(text_of(tmp_path, ram="3K")).text)
    assert "DOES NOT FIT" in text and re.search(r"OVER by \d+ bytes", text)


def test_what_would_make_it_fit_is_on_the_page(tmp_path):
    made = deployment(tmp_path, ram="3K")
    remedy = Remedy("train <it> smaller", 300, 100, "accuracy", None, False, ("sram", "flash"))
    text = " ".join(Seen(html.render(html.fit_page(made, [remedy]))).text)
    assert "What would change it" in text and "train <it> smaller" in text
    assert "no: sram, flash" in text
    assert "What would change it" not in text_of(tmp_path)


def test_the_page_loads_nothing(tmp_path):
    page = Seen(text_of(tmp_path))
    addresses = [v for k, v in page.attributes if k in ("src", "href", "xlink:href", "srcset")]
    assert all(address and address.startswith("#") for address in addresses)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "url(" not in text_of(tmp_path) and "@import" not in text_of(tmp_path)


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    assert text_of(tmp_path) == text_of(tmp_path)


def test_names_of_a_model_stay_text(tmp_path):
    plain, nasty = Seen(text_of(tmp_path)), Seen(text_of(tmp_path, name=NASTY))
    assert nasty.tags == plain.tags
    assert not [key for key, _ in nasty.attributes if key.startswith("on")]
    assert any("alert(2)" in (value or "") for _, value in nasty.attributes)  # shown, as text
    assert not any("49" in piece and "alert" in piece for piece in nasty.text)  # no template in it


def test_every_operator_has_a_row_and_a_box(tmp_path):
    text = text_of(tmp_path, 160)
    assert text.count('<tr id="op-') == 160
    assert text.count('<g class="node">') == 162  # and the input and the output


def deployed_page(tmp_path: Path, *, differs: bool) -> str:
    """The page of a deployment whose verdict is given: what a test on an emulator would give."""
    made = deployment(tmp_path)
    project = api.generate(tmp_path / "net.tflite", "stm32f469", tmp_path / "firmware")
    found = Divergence(3, 2, "ADD", "sum", "mcud_add_s8", 16, 4, 7, 12.0, 13.0, 1.0)
    verdict = Verdict("unicorn", 10, not differs, 9, 5, 5, found if differs else None, 900, 900,
                      (500, 100, 100, 100, 100), 128)  # fmt: skip
    tested = api.Tested(project.manifest, (verdict,), ("5 passed", True), (("renode", "absent"),))
    built = api.Built(Path("firmware.elf"), 1.0, (), (), {"sram": 9000}, {"sram": 327680})
    whole = api.Deployed(dataclasses.replace(project, deployment=made), built, tested)
    return html.render(html.deploy_page(whole))


def test_a_deployment_that_passed_shows_the_counts(tmp_path):
    text = deployed_page(tmp_path, differs=False)
    assert "bit-exact" in text and "equals the golden reference" in text
    assert "instructions (predicted)" not in text


def test_the_operator_where_bits_first_differ_is_shown_everywhere(tmp_path):
    text = deployed_page(tmp_path, differs=True)
    assert "FAILED: on unicorn operator #2 ADD" in text
    assert "Element 7 is 13; golden has 12" in text
    assert '<tr id="op-2" class="differs">' in text and '<rect class="bad"' in text
    assert "equals the golden reference" not in text


def test_a_streamed_plan_says_so_and_shows_its_rings(tmp_path):
    builder = ModelBuilder()
    value = builder.input((1, 24, 24, 4), scale=0.1)
    for number, (depth, channels) in enumerate([(4, 48), (48, 4)]):  # a wide map in the middle
        weights = builder.constant(np.ones((channels, 3, 3, depth), np.int8),
                                   scale=[0.01] * channels)  # fmt: skip
        made = builder.tensor((1, 24, 24, channels), scale=0.1, name=f"map {number}")
        value = builder.operator("CONV_2D", [value, weights], made, padding="SAME", stride_w=1,
                                 stride_h=1)  # fmt: skip
    (tmp_path / "net.tflite").write_bytes(builder.build([value]))
    made = api.prepare(tmp_path / "net.tflite", "stm32f469", stream="max")
    assert made.plan.streams, "nothing is streamed: the test needs another network"
    text = html.render(html.fit_page(made))
    assert "run row by row" in text and re.search(r"map \d, \d+ of 24 rows at a time", text)


def test_a_profile_is_shown_operator_by_operator(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(network(3))
    api.generate(path, "stm32f469", tmp_path / "firmware")
    api.build(tmp_path / "firmware")
    profile = api.profile(tmp_path / "firmware")
    page = Seen(html.render(html.profile_page(profile, commands=("mcudeploy profile firmware",))))
    text = " ".join(page.text)
    assert f"{profile.operators[0].instructions:,}" in text and "mcudeploy profile firmware" in text
    assert page.tags.count("tr") == 1 + len(profile.operators)


@pytest.fixture(scope="module")
def exploration_page() -> str:
    found = explore(["lenet", "mobilenet_v1"], ["stm32f469"], processes=1)
    return html.render(explore_page(found, commands=("mcudeploy explore lenet -b stm32f469",)))


def test_an_exploration_is_a_picture_and_a_table_of_every_member(exploration_page):
    page = Seen(exploration_page)
    text = " ".join(page.text)
    assert page.tags.count("circle") == page.tags.count("tr") - 1 == 17
    assert "8 of 17 candidates fit" in text and "110.0 MMAC" in text
    assert "sram is over by" in text and "sram 320 KiB" in text and "all RAM 384 KiB" in text
    assert "mcudeploy explore lenet -b stm32f469" in text


def test_what_does_not_fit_is_an_outline_and_right_of_the_limit(exploration_page):
    circles = re.findall(r'class="k\d( out)?" cx="([\d.]+)"', exploration_page)
    limit = float(re.search(r'class="limit-line" x1="([\d.]+)"', exploration_page)[1])
    assert sum(out == "" for out, _ in circles) == 8
    assert all(out for out, x in circles if float(x) > limit)


def test_an_exploration_of_what_nobody_can_deploy_says_so():
    found = explore(["lenet"], ["nucleo_f103rb"], processes=1, ram="1K")
    page = html.render(explore_page(found))
    assert "0 of 1 candidates fit" in page and 'class="verdict no"' in page


def test_a_search_lists_what_it_found():
    board = find_board("stm32f469")
    code = "r32-s8" + "-k3e1w8d1" * 7 + "-h0"
    options = {"code": code, "channels": 3, "classes": 10}
    member = Member("searched", options)
    found = [Found(member, measure(member.network(), board), 1.0, accuracy=0.5)]
    page = Seen(html.render(search_page(found, board)))
    text = " ".join(page.text)
    assert page.tags.count("tr") == 1 + len(found)
    assert f"mcudeploy zoo build searched --code {code}" in text
    assert "50.00" in text and f"{found[0].need.macs:,}" in text
    nothing = html.render(search_page((), board))
    assert "Nothing that fits was found" in nothing and 'class="verdict no"' in nothing


def test_each_reporting_command_writes_its_page(tmp_path):
    (tmp_path / "net.tflite").write_bytes(network(3))
    model, firmware = tmp_path / "net.tflite", tmp_path / "firmware"
    for command in (
        ["fit", model, "-b", "stm32f469"],
        ["deploy", model, "-b", "stm32f469", "-o", firmware],
        ["profile", firmware],
        ["explore", "lenet", "-b", "stm32f469", "--processes", "1"],
    ):
        path = tmp_path / f"{command[0]}.html"
        done = run_here(*command, "--html", path)
        assert done.returncode == 0, done.stderr
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
        assert max(map(len, done.stdout.splitlines())) <= 80


PROBE = """<script>{
const wide = document.documentElement.scrollWidth - innerWidth;
const table = document.querySelector("#operators table, #stm32f469 table");
const heading = [...table.tHead.rows[0].cells].find((c) => /^(live|RAM)/.test(c.textContent));
const column = heading.cellIndex;
heading.querySelector("button").click();
const values = [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
const sorted = values.every((value, i) => i === 0 || values[i - 1] >= value);
const buffer = document.querySelector("g.buffer, g.member");
buffer.dispatchEvent(new PointerEvent("pointermove", {clientX: 5, clientY: 5}));
const tip = document.getElementById("tip");
document.body.dataset.probe = JSON.stringify({
  wide, sorted, aria: heading.getAttribute("aria-sort"), tip: tip.hidden ? "" : tip.textContent,
  dark: getComputedStyle(document.body).backgroundColor,
});
}</script>"""


def browse(page: Path, width: int, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},900", *more]
    return subprocess.run(
        [*map(str, command), page.as_uri()], capture_output=True, text=True, timeout=60, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the report is not browsed")
@pytest.mark.parametrize(
    ("operators", "width", "theme"),
    [(5, 500, "dark"), (160, 1400, "light"), (160, 500, "light"), (None, 1400, "dark")],
    ids=["5 operators", "160 operators", "160 operators, narrow", "exploration"],
)
def test_a_browser_shows_sorts_and_explains_it(tmp_path, exploration_page, operators, width, theme):
    page = tmp_path / "report.html"
    text = text_of(tmp_path, operators) if operators else exploration_page
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    scheme = {"dark": 0, "light": 1}[theme]
    done = browse(page, width, tmp_path / "profile", "--dump-dom",
                  f"--blink-settings=preferredColorScheme={scheme}")  # fmt: skip
    assert not re.findall(r"CONSOLE.*", done.stderr)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, "the script did not run to its end"
    probe = found[1].replace("&quot;", '"')
    assert '"wide":0' in probe or '"wide":-' in probe, "the page is wider than the window"
    assert '"sorted":true' in probe and '"aria":"descending"' in probe
    assert ("bytes at sram offset" if operators else "MMAC") in probe
    assert ("rgb(20, 24, 29)" in probe) == (theme == "dark")
