# SPDX-License-Identifier: Apache-2.0
"""The JSON of every command: what it really prints is what its documented schema says."""

from __future__ import annotations

import ast
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from in_process import run_here as run
from test_cli import dense_model

from mcudeploy.report import jsonify, schema

ROOT = Path(__file__).resolve().parent.parent
MAKE_KERAS_MODEL = """
import sys, keras
keras.utils.set_random_seed(0)
x = keras.Input((8, 8, 1))
keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(x))).save(sys.argv[1])
"""


def printed(kind: str, *arguments: object) -> dict[str, Any]:
    """The document that a command prints, held to the schema of its kind."""
    done = run(*arguments, "--json")
    assert done.returncode in (0, 1, 2), done.stderr
    document = json.loads(done.stdout)
    jsonschema.validate(document, schema.schema(kind))
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("json")
    (made / "dense.tflite").write_bytes(dense_model())
    return made


@pytest.fixture(scope="module")
def deployed(folder) -> dict[str, Any]:
    return printed("deploy", "deploy", folder / "dense.tflite", "-b", "stm32f469",
                   "-o", folder / "firmware")  # fmt: skip


def test_deploy(deployed):
    assert deployed["passed"] and deployed["test"]["verdicts"][0]["bit_exact"]


def test_deploy_of_what_does_not_fit(folder, tmp_path):
    text = (ROOT / "boards/stm32f469.toml").read_text()
    (tmp_path / "tiny.toml").write_text(re.sub(r'size = "320[^"]*"', 'size = "3K"', text))
    document = printed("deploy", "deploy", folder / "dense.tflite", "-b", tmp_path / "tiny.toml",
                       "-o", tmp_path / "firmware")  # fmt: skip
    assert not document["passed"] and document["build"] is None


@pytest.mark.parametrize("command", ["build", "test", "check", "profile", "verify"])
def test_commands_on_a_project(folder, deployed, command):
    more = ["--random", "2"] if command == "test" else []
    printed(command, command, folder / "firmware", *more)


def test_check_against_a_baseline(folder, deployed, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(printed("check", "check", folder / "firmware")))
    document = printed("check", "check", folder / "firmware", "--baseline", tmp_path / "old.json",
                       "--max-ram", "1K")  # fmt: skip
    assert document["changes"] == [] and document["broken"]


def test_fit_and_generate(folder, tmp_path):
    printed("fit", "fit", folder / "dense.tflite", "-b", "stm32f469")
    printed("fit", "fit", folder / "dense.tflite", "-b", "stm32f469", "--dtype", "float32")
    printed("generate", "generate", folder / "dense.tflite", "-b", "stm32f469",
            "-o", tmp_path / "firmware")  # fmt: skip


def test_quantize(tmp_path):
    model = tmp_path / "net.keras"
    subprocess.run([sys.executable, "-c", MAKE_KERAS_MODEL, str(model)], check=True,
                   capture_output=True)  # fmt: skip
    document = printed("quantize", "quantize", model, "-o", tmp_path / "net.tflite",
                       "--synthetic-calibration")  # fmt: skip
    assert document["bytes"] == (tmp_path / "net.tflite").stat().st_size


def test_boards_and_doctor():
    assert len(printed("boards", "boards", "stm32f469")["boards"]) == 1
    printed("boards", "boards")
    printed("doctor", "doctor")


def test_zoo_and_packing(tmp_path):
    printed("zoo-list", "zoo", "list")
    printed("zoo-verify", "zoo", "verify", "lenet5")
    (tmp_path / "buffers.csv").write_text("id,lower,upper,size\na,0,2,64\nb,1,3,32\n")
    assert printed("pack", "pack", tmp_path / "buffers.csv")["packing"]["height"] == 96


def test_exploring():
    printed("explore", "explore", "lenet", "-b", "stm32f469")
    printed("explore-search", "explore", "--search", "-b", "stm32f469", "--evaluations", "24")


def kinds_printed() -> Iterator[str]:
    """The first argument of every call of `document` in the commands."""
    for path in (ROOT / "mcudeploy/cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "document":
                first = node.args[0]
                assert isinstance(first, ast.Constant)
                yield str(first.value)


def test_every_document_that_a_command_prints_has_a_schema():
    assert set(kinds_printed()) == set(schema.documents())


def test_the_documented_schemas_are_those_of_the_types():
    """`python -m mcudeploy.report.schema docs` writes them; a removed field wants a version."""
    for name, text in schema.files().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, f"docs/{name} is old"


def test_schemas_are_schemas():
    for kind in schema.documents():
        jsonschema.Draft202012Validator.check_schema(schema.schema(kind))


def test_numbers_that_json_does_not_have_become_null():
    text = jsonify.document("fit", report={"a": math.nan, "b": (math.inf, 1.5)})
    assert json.loads(text)["report"] == {"a": None, "b": [None, 1.5]}


def test_a_schema_refuses_what_is_not_documented(folder):
    document = printed("fit", "fit", folder / "dense.tflite", "-b", "stm32f469")
    document["report"]["extra"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema.schema("fit"))
