# SPDX-License-Identifier: Apache-2.0
"""The C text of kernel calls is written as jinja2 templates; each is compiled once."""

from __future__ import annotations

from functools import lru_cache

import jinja2


@lru_cache(maxsize=256)
def snippet_template(snippet: str) -> jinja2.Template:
    """The compiled `Implementation.snippet`; undefined names are errors."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(snippet.strip("\n"))
