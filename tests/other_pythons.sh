#!/bin/sh
# SPDX-License-Identifier: MIT
# Run the quick contract tests on every other CPython that this machine has.
#
#   sh tests/other_pythons.sh PYTHON BUILD
#
# PYTHON is the interpreter that the other targets test already; BUILD takes a virtual environment
# for each of the others, which is kept and used again. One interpreter per minor version; builds
# without the GIL count as versions of their own. Says one line for each; fails if the tests of one do.
set -eu

tested=$1
mkdir -p "$2"
build=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."

# What an interpreter is, as "3.13 /path/of/it" or "3.13t ..."; nothing for one that we do not support,
# and nothing from what merely bears the name (a shim that prints an error).
describe() {
    "$1" -c '
import os, sys, sysconfig
if sys.implementation.name == "cpython" and sys.version_info >= (3, 11):
    gil = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print("%d.%d%s" % (*sys.version_info[:2], gil), os.path.realpath(sys.executable))
' 2>/dev/null || :
}

# What it lacks to build an extension in a virtual environment; nothing if it has all.
lacks() {
    "$1" -c '
import importlib.util, os, sysconfig
if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
    print("ensurepip and venv")
elif not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("Python.h")
'
}

candidates() {
    for minor in 11 12 13 14 15; do
        command -v "python3.$minor" || :
        command -v "python3.${minor}t" || :
    done
    pyenv_root=${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")}
    for found in "$pyenv_root"/versions/*/bin/python3; do
        if [ -x "$found" ]; then echo "$found"; fi
    done
}

# What the tests need: the packages, and to build without the network.
requirements() {
    "$tested" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print("meson", "ninja", *project["build-system"]["requires"], *project["project"]["dependencies"],
      *project["project"]["optional-dependencies"]["test"], sep="\n")'
}

# Show what a step had to say only if it failed.
quietly() {
    "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

prepare() {
    python=$1
    venv=$2
    requirements >"$venv.wanted"
    if ! cmp -s "$venv.wanted" "$venv/requirements.txt"; then
        rm -rf "$venv"
        quietly "$python" -m venv "$venv" || return 1
        quietly "$venv/bin/python" -m pip install --disable-pip-version-check -r "$venv.wanted" || return 1
        mv "$venv.wanted" "$venv/requirements.txt"
    fi
    rm -f "$venv.wanted"
    if [ ! -e "$venv/installed" ] ||
        [ -n "$(find src meson.build pyproject.toml -type f -newer "$venv/installed" ! -name '*.pyc' | head -1)" ]; then
        PATH="$venv/bin:$PATH" quietly "$venv/bin/python" -m pip install --disable-pip-version-check \
            --no-build-isolation --no-deps --force-reinstall -Cbuild-dir="$venv/extension" . || return 1
        touch "$venv/installed"
    fi
}

seen=" $(describe "$tested" | cut -d' ' -f1) "
failed=
others=0
list=$(candidates)
for candidate in $list; do
    described=$(describe "$candidate")
    version=${described%% *}
    python=${described#* }
    case "$seen" in *" $version "*) continue ;; esac
    if [ -z "$version" ]; then continue; fi
    seen="$seen$version "
    missing=$(lacks "$python")
    if [ -n "$missing" ]; then
        echo "python$version: left out, it has no $missing"
        continue
    fi
    others=$((others + 1))
    venv=$build/python$version
    log=$build/python$version.log
    if ! prepare "$python" "$venv"; then
        echo "python$version: could not be prepared" >&2
        failed="$failed $version"
        continue
    fi
    # Left out is what takes long and does not depend on the interpreter, or checks sources and texts.
    if quietly "$venv/bin/python" -m pytest -q -n auto -p no:cacheprovider tests -m "not slow" \
        --ignore=tests/test_crash.py --ignore=tests/test_leaks.py --ignore=tests/test_demo.py \
        --ignore=tests/test_house.py --ignore=tests/test_docs.py --ignore=tests/test_fork.py \
        --ignore=tests/test_liveness.py --ignore=tests/test_doorbell.py --ignore=tests/test_names.py \
        --ignore=tests/test_cli.py --ignore=tests/test_examples.py \
        --ignore=tests/test_mapping_examples.py --ignore=tests/test_every_step.py \
        --ignore=tests/test_hostile.py --ignore=tests/test_models.py; then
        echo "python$version: $(tail -n 1 "$log")"
    else
        failed="$failed $version"
    fi
done

if [ "$others" = 0 ]; then
    echo "no other CPython from 3.11 on found; tested on$(echo "$seen" | tr -s ' ' | sed 's/ $//') only"
fi
if [ -n "$failed" ]; then
    echo "failed on python$failed" >&2
    exit 1
fi
