# SPDX-License-Identifier: Apache-2.0
"""The network with its kernels alone, to be put into a firmware that exists already.

All C lies under `src/`, which is the one folder to search for headers: so the same files serve
PlatformIO (library.json), CMake, Zephyr (zephyr/module.yml) and Arduino (library.properties).
Each library is a static archive with every kernel that it calls. Two of them may hold the same
kernel: the linker takes it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mcudeploy import __version__
from mcudeploy.codegen.c_source import comment_text
from mcudeploy.codegen.manifest import Form
from mcudeploy.codegen.model import ModelSource, environment, render_model
from mcudeploy.codegen.output import sha256
from mcudeploy.deployment import Deployment
from mcudeploy.errors import InputError
from mcudeploy.resources import resource_folder

_INCLUDE = re.compile(r'^#include "([\w.]+)"', re.MULTILINE)
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")
# Headers of the C library that a header of the same name would hide.
_SYSTEM_HEADERS = frozenset(
    {
        "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits",
        "locale", "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool",
        "stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string", "tgmath", "threads",
        "time", "uchar", "wchar", "wctype",
    }
)  # fmt: skip


def kernel_files(sources: Iterable[str]) -> dict[str, bytes]:
    """Our kernels that are used, with the headers that they include, by file name."""
    firmware = resource_folder("firmware")
    waiting = [source for source in sources if not source.startswith("cmsis-nn:")]
    files: dict[str, bytes] = {}
    while waiting:
        path = firmware / waiting.pop()
        if path.name in files:
            continue
        files[path.name] = path.read_bytes()
        beside = [path.with_suffix(".h").name, *_INCLUDE.findall(files[path.name].decode())]
        waiting += [f"kernels/{h}" for h in beside if (path.parent / h).is_file()]
    return files


def check_form(form: Form) -> None:
    """Raises InputError for a prefix that C, the kernels or the C library could not live with."""
    prefix = form.prefix
    reason = ""
    if not _PREFIX.fullmatch(prefix):
        reason = "it must be lower-case letters, digits and _, at most 31, and begin with a letter"
    elif prefix in _SYSTEM_HEADERS:
        reason = f"{prefix}.h is a header of the C library"
    elif prefix.startswith(("arm_", "mcud", "operator_")):
        reason = "kernels and generated code use such names"
    if reason:
        raise InputError(f"the prefix {prefix!r} cannot be used: {reason}", where="--prefix")


def library_files(
    deployment: Deployment, library: Mapping[str, bytes], labels: tuple[str, ...], form: Form
) -> dict[str, bytes]:
    """Every file of a library but its manifest. Raises InputError for a form that cannot be."""
    check_form(form)
    plan = deployment.plan
    first = plan.board.regions("ram")[0].name
    outside = sorted(set(plan.arenas) - {first})
    if form.shares_arena and outside:
        raise InputError(
            f"the arena cannot be shared: the plan also uses {', '.join(outside)}",
            mend="leave --share-arena out, or let the plan stay in one region",
        )
    source = ModelSource(plan, deployment.name, labels, form.prefix, form.shares_arena)
    files = {f"src/{name}": text.encode() for name, text in render_model(source).items()}
    kernels = kernel_files(i for p in plan.implementations for i in p.sources)
    for name, content in kernels.items():
        if f"src/{name}" in files:
            raise InputError(
                f"the prefix {form.prefix!r} cannot be used: a kernel's file is called {name}",
                where="--prefix",
            )
        files[f"src/{name}"] = content
    files |= {_cmsis_path(name): content for name, content in library.items()}
    files["model.tflite"] = deployment.model
    licence = resource_folder("templates") / "project" / "LICENSES" / "Apache-2.0.txt"
    files["LICENSES/Apache-2.0.txt"] = licence.read_bytes()
    sources = sorted(name for name in files if name.endswith(".c"))
    context = {
        "version": __version__,
        "prefix": form.prefix,
        "shares_arena": form.shares_arena,
        "title": comment_text(deployment.name),
        "board": plan.board,
        "sources": sources,
        "has_library": bool(library),
        "regions": list(plan.arenas),
        "outside": outside,
        "model_version": f"1.0.0+{sha256(deployment.model)[:8]}",
    }
    env = environment()
    folder = resource_folder("templates") / "library"
    for path in sorted(p for p in folder.rglob("*.j2")):
        name = path.relative_to(folder).as_posix()
        text = env.get_template(f"library/{name}").render(context)
        files[name.removesuffix(".j2")] = text.encode()
    return files


def _cmsis_path(name: str) -> str:
    """Headers where `#include "arm_nnfunctions.h"` finds them, sources in a folder of their own."""
    if name.startswith("Include/"):
        return f"src/{name.removeprefix('Include/')}"
    return f"src/cmsis_nn/{name.removeprefix('Source/')}" if name.endswith(".c") else name
