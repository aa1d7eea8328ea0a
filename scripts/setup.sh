#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a checkout ready to run, and does only what is not done yet:
#   1. Debian or Ubuntu packages, where a tool is missing;
#   2. a virtual environment in .venv with mcudeploy (editable) and all it needs;
#   3. the CMSIS-NN source in the user's cache.
# A tool that is there already, from wherever, is left alone.
set -eu
cd "$(dirname "$0")/.."
venv=.venv

say() { printf '%s\n' "== $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 2; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- 1. system packages ---------------------------------------------------------------------------

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if has "$candidate" &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
        then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is needed (TensorFlow has no other); set PYTHON to one"

packages=
need() { packages="$packages $*"; }
arm_newlib() { [ -f "$(arm-none-eabi-gcc -print-file-name=libc_nano.a)" ]; }
host_compiles() {
    has gcc && printf '#include <stdio.h>\n' | gcc -x c -fsyntax-only - >/dev/null 2>&1
}
has arm-none-eabi-gcc || need gcc-arm-none-eabi
{ has arm-none-eabi-gcc && arm_newlib; } || need libnewlib-arm-none-eabi
host_compiles || need gcc libc6-dev
has qemu-system-arm || need qemu-system-arm
if ! [ -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need python3-venv
fi

if [ -n "$packages" ]; then
    by_hand="install them by hand:$packages (these are Debian's names), then try again"
    has apt-get || fail "tools are missing and this system has no apt-get: $by_hand"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif has sudo; then
        # Without a terminal sudo must not ask for a password.
        if [ -t 0 ]; then as_root=sudo; else as_root="sudo -n"; fi
    else
        fail "packages are missing, and this is neither root nor is there sudo. As root run:
  apt-get install -y --no-install-recommends$packages"
    fi
    say "installing from Debian:$packages"
    # The index is fetched only when what lies here does not serve.
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends"
    # shellcheck disable=SC2086  # the lists are meant to be split
    $as_root $install $packages </dev/null >/dev/null 2>&1 ||
        { $as_root apt-get update -qq </dev/null && $as_root $install $packages </dev/null; } ||
        fail "apt-get failed: $by_hand"
fi

# --- 2. the virtual environment -------------------------------------------------------------------

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making the virtual environment $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
say "installing mcudeploy and what it needs into $venv (TensorFlow is large: minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]' </dev/null

# --- 3. CMSIS-NN ----------------------------------------------------------------------------------

"$venv/bin/python" -m mcudeploy.toolchain.cmsis_nn

touch "$venv/.ready"
say "ready; \`$venv/bin/mcudeploy doctor\` shows what is installed"
