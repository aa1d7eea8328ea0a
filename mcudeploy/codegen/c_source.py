# SPDX-License-Identifier: Apache-2.0
"""C text from values: identifiers, comments, string literals and arrays.

Names come from model files and are untrusted: only what passes through here reaches C.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "float32": "float",
    "bool": "uint8_t",
}

_NAME_LENGTH = 60


def comment_text(text: str) -> str:
    """Printable ASCII on one line, short, that cannot end or open a C comment."""
    plain = "".join(c if " " <= c <= "~" and c not in "\\?" else "_" for c in text)
    plain = plain.replace("*/", "* /").replace("/*", "/ *")
    return plain if len(plain) <= _NAME_LENGTH else plain[: _NAME_LENGTH - 3] + "..."


def string_literal(text: str) -> str:
    """A C string literal of the printable part of `text`."""
    return '"' + comment_text(text).replace('"', "'") + '"'


def identifier(text: str) -> str:
    """A C identifier made of the letters and digits of `text`."""
    cleaned = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower()[:_NAME_LENGTH]
    return cleaned if cleaned and cleaned[0].isalpha() else f"n_{cleaned}"


def float_literal(value: float) -> str:
    """A C float literal that reads back as the same single-precision value."""
    text = repr(float(np.float32(value)))
    return (text if any(c in text for c in ".en") else text + ".0") + "f"


def array_elements(data: npt.NDArray[Any]) -> str:
    """The elements of an array as C initializers, wrapped to lines of about 96 columns."""
    flat = data.reshape(-1)
    if data.dtype == np.float32:
        words = [float_literal(v) for v in flat.tolist()]
    elif data.dtype == np.int32:
        words = ["INT32_MIN" if v == -(2**31) else str(v) for v in flat.tolist()]
    elif data.dtype == np.uint32:
        words = [f"{v}u" for v in flat.tolist()]
    else:
        words = [str(int(v)) for v in flat.tolist()]
    lines: list[str] = []
    line: list[str] = []
    width = 0
    for word in words:
        if width + len(word) + 2 > 92:
            lines.append("    " + ", ".join(line) + ",")
            line, width = [], 0
        line.append(word)
        width += len(word) + 2
    lines.append("    " + ", ".join(line) + ",")
    return "\n".join(lines)
