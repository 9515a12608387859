#!/bin/sh
# SPDX-License-Identifier: MIT
# Run the quick contract tests on every other CPython that this machine has.
#
#   sh tests/other_pythons.sh PYTHON BUILD
#
# PYTHON is the interpreter that the other targets test already; BUILD takes a virtual environment
# for each of the others, which is kept and used again. One interpreter per minor version, the
# system's first. The newest version has all tests that depend on the interpreter; the others have
# those of the binding. So has the system's, if its version is tested already, but it is another
# build or brings another pip. Says one line for each, also of what is left out and why; fails if
# the tests of one do.
set -eu

tested=$1
mkdir -p "$2"
build=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."

system=/usr/bin/python3

# What an interpreter is, as "3.13 /path/of/it" or "3.13t ..."; nothing for one that is no CPython,
# and nothing from what merely bears the name (a shim that prints an error).
describe() {
    "$1" -c '
import os, platform, sys, sysconfig
if platform.python_implementation() == "CPython":
    gil = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print("%d.%d%s %s" % (sys.version_info[0], sys.version_info[1], gil, os.path.realpath(sys.executable)))
' 2>/dev/null || :
}

# Which build it is, and with which pip its environments begin.
build_and_pip() {
    "$1" -c 'import ensurepip, sys; print(sys.version, ensurepip.version())' 2>/dev/null || :
}

candidates() {
    command -v "$system" || :
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
            --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir="$venv/extension" . || return 1
        touch "$venv/installed"
    fi
}

# The tests that an interpreter is to pass. Left out is what does not depend on it: see the marker in CONTRIBUTING.md.
most_tests() {
    "$1" -m pytest -q -n auto -p no:cacheprovider -m "not machine" tests
}

few_tests() {
    "$1" -m pytest -q -n auto -p no:cacheprovider -m "not machine" tests/ring tests/slot tests/map \
        tests/queue tests/objects tests/mapping/test_mapping.py tests/region/test_pickling.py
}

seen=" $(describe "$tested" | cut -d' ' -f1) "
failed=
others=0
list=$(candidates)
newest=$(for candidate in $list; do describe "$candidate"; done | cut -d' ' -f1 | sort -V | tail -n 1)
for candidate in $list; do
    described=$(describe "$candidate")
    version=${described%% *}
    python=${described#* }
    tests=few_tests
    if [ "$version" = "$newest" ]; then tests=most_tests; fi
    label=python$version
    if [ -z "$version" ]; then continue; fi
    case "$seen" in *" $version "*)
        if [ "$candidate" != "$system" ] || [ "$(build_and_pip "$candidate")" = "$(build_and_pip "$tested")" ]; then
            continue
        fi
        tests=few_tests
        label=python$version-system
        ;;
    esac
    seen="$seen$version "
    if ! missing=$(sh tests/machine.sh "$python"); then
        echo "$label: left out: ${missing%%: *}"
        continue
    fi
    others=$((others + 1))
    venv=$build/$label
    log=$build/$label.log
    if ! prepare "$python" "$venv"; then
        echo "$label: could not be prepared" >&2
        failed="$failed $label"
    elif quietly "$tests" "$venv/bin/python"; then
        echo "$label: $(tail -n 1 "$log")"
    else
        failed="$failed $label"
    fi
done

if [ "$others" = 0 ]; then
    echo "no other CPython from 3.11 on found; tested on$(echo "$seen" | tr -s ' ' | sed 's/ $//') only"
fi
if [ -n "$failed" ]; then
    echo "failed on$failed" >&2
    exit 1
fi
