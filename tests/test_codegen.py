# SPDX-License-Identifier: Apache-2.0
"""What reaches C: names that cannot break out, numbers that read back, projects written whole."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcudeploy.codegen.c_source import (
    array_elements,
    comment_text,
    float_literal,
    identifier,
    string_literal,
)
from mcudeploy.codegen.manifest import MANIFEST_NAME
from mcudeploy.codegen.output import write_project
from mcudeploy.errors import InputError
from mcudeploy.files import write_file

NASTY = ["*/ int x; /*", '"; system("ls");//', "a\nb", "../../etc", "??/", "ü" * 99, "", "int"]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_ends_a_comment_or_a_string(name):
    check_comment(name)


@given(st.text(max_size=200))
def test_any_name_stays_inside_its_comment_and_its_literal(name):
    check_comment(name)


def check_comment(name):
    comment = comment_text(name)
    assert "*/" not in comment and "/*" not in comment and "??" not in comment
    assert "\n" not in comment and "\\" not in comment and comment.isascii()
    literal = string_literal(name)
    assert literal[0] == literal[-1] == '"' and '"' not in literal[1:-1]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", identifier(name))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_literal_reads_back_as_the_same_float(value):
    text = float_literal(value)
    assert text.endswith("f") and np.float32(text[:-1]) == np.float32(value)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=60))
def test_every_integer_of_an_array_reads_back(values):
    text = array_elements(np.array(values, np.int32)).replace("INT32_MIN", str(-(2**31)))
    assert [int(word) for word in text.split(",") if word.strip()] == values
    assert all(len(line) <= 100 for line in text.splitlines())


def test_a_folder_with_something_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else"):
        write_project(tmp_path, {MANIFEST_NAME: b"{}"})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_refused(tmp_path):
    target = tmp_path / "out"
    target.write_text("a file")
    with pytest.raises(InputError, match="not a folder"):
        write_project(target, {MANIFEST_NAME: b"{}"})


def test_nothing_is_left_beside_the_project(tmp_path):
    write_project(tmp_path / "out", {"a/b.c": b"int x;", MANIFEST_NAME: b"{}"})
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/a/b.c").read_bytes() == b"int x;"


def test_write_file_replaces_as_a_whole(tmp_path):
    target = tmp_path / "deep/model.tflite"
    write_file(target, b"old")
    write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in target.parent.iterdir()] == ["model.tflite"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError) as caught:
        write_project(blocked / "out", {MANIFEST_NAME: b"{}"})
    assert str(blocked) in caught.value.where
