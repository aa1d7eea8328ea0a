# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation that are made from the code whenever the site is built.

MkDocs calls `on_files`; `pages()` is what tests look at. Nothing of it is committed, so nothing of
it can be out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer.main

from mcudeploy.board import Board, board_names, find_board
from mcudeploy.cli import app


def pages() -> dict[str, str]:
    """Name of the page to its Markdown."""
    return {"commands.md": commands(), "boards.md": boards()}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands\n\nExit codes: 0 yes, 1 a clear no (does not fit, differs, over budget), 2 bad "
        "input or a missing tool. `--json` prints one [documented](json.md) object and nothing "
        "else. `--debug`, anywhere on the line, shows the traceback of an error.\n"
    ]
    for path, command in _leaves(root, "mcudeploy"):
        parts.append(f"## {path}\n\n{_help(command)}\n")
        rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            parts.append(
                "| argument or option | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n"
            )
    return "\n".join(parts)


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    inner_commands = getattr(command, "commands", None)
    if inner_commands:
        for name, inner in inner_commands.items():
            yield from _leaves(inner, f"{path} {name}")
    else:
        yield path, command


def _help(command: Any) -> str:
    text = (command.help or "").strip()
    before, _, example = text.partition("Example: ")
    shown = " ".join(before.split())
    return f"{shown}\n\n    {' '.join(example.split())}" if example else shown


def _row(parameter: Any) -> str:
    words = getattr(parameter, "help", None) or ""
    if parameter.param_type_name == "option":
        name = ", ".join(f"`{option}`" for option in parameter.opts)
        kind = parameter.metavar or ""
        values = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
        if isinstance(values, type) and issubclass(values, Enum):
            kind = " or ".join(str(value.value) for value in values)
        name += f" {_cell(kind)}" if kind else ""
    else:
        name = f"`{parameter.metavar or (parameter.name or '').upper()}`"
    default = parameter.default
    shown = "" if default is None or default is False else getattr(default, "value", default)
    shown = "**needed**" if parameter.required else f"`{shown}`" if str(shown) else ""
    return f"| {name} | {_cell(words)} | {shown} |"


def boards() -> str:
    """Every board with its regions."""
    parts = ["# Boards\n\nA file of your own does as well: `--board my_board.toml`.\n"]
    for name in sorted(set(board_names().values())):
        parts.append(_board(find_board(name)))
    return "\n".join(parts)


def _board(board: Board) -> str:
    rows = "\n".join(
        f"| `{r.name}` | {r.kind} | `0x{r.address:08x}` | {r.size / 1024:,g} KiB | {_rules(r)} |"
        for r in board.memory
    )
    return (
        f"## {board.name}\n\n{board.title}: {board.mcu} by {board.vendor}, {board.core.name} at "
        f"{board.clock.hz / 1e6:g} MHz, serial link {board.uart.name}. Tried on {board.tried_on}. "
        f"{board.notes}\n\n"
        f"| region | kind | address | size | rules |\n|---|---|---|---|---|\n{rows}\n"
    )


def _rules(region: Any) -> str:
    words = [
        word
        for word, holds in (
            ("no DMA", not region.dma),
            ("no code", not region.execute),
            ("external, only with `--use-external`", region.external),
        )
        if holds
    ]
    return ", ".join(words)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to what MkDocs found."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files
