#!/bin/sh
# SPDX-License-Identifier: MIT
# Run tests on a build of the extension that has the address and the undefined behavior sanitizer in it.
#
#   sh tests/sanitize.sh PYTHON BUILD [PYTEST ARGUMENTS]
#
# PYTHON has all that building and testing needs; BUILD takes the sanitized build, which is kept. Without arguments: the
# tests of mappings, with their model and their examples, and those of bytes that somebody has spoilt.
# An error of a sanitizer ends the process it happens in, and so the test.
set -eu

python=$1
mkdir -p "$2/wheel"
build=$(cd "$2" && pwd)
shift 2
cd "$(dirname "$0")/.."
bin=$(cd "$(dirname "$python")" && pwd)

# -O1: half the time of compiling, and traces that can be read. Not by pip: before 23.1 it hands on only the last of
# several settings of one name.
PATH="$bin:$PATH" "$python" -c '
import sys, mesonpy
build, *setup = sys.argv[1:]
mesonpy.build_wheel(build + "/wheel", {"build-dir": build + "/extension", "setup-args": setup})
' "$build" -Dbuildtype=plain -Doptimization=1 -Ddebug=true -Db_lundef=false -Db_sanitize=address,undefined \
    >"$build/log" 2>&1 || { cat "$build/log" >&2; exit 1; }
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$build/site" \
    "$build"/wheel/memlane-*.whl

# The libraries first in a process that was not built for them. libstdc++ with them: the address sanitizer
# looks for its throw when it starts, and numpy brings it only later.
compiler=${CC:-cc}
preload=
for library in libasan.so libubsan.so libstdc++.so; do
    preload="$preload $("$compiler" -print-file-name="$library")"
done

# What Python keeps until it ends is no leak. Signals are left alone: dying of SIGSEGV, SIGBUS and SIGABRT is what
# tests look at. Too large an allocation is a MemoryError, as without sanitizers.
export ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0:use_sigaltstack=0:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# Python's own allocator would hide the ends of objects, and the suite that is running the build beside it.
export PYTHONMALLOC=malloc PYTHONPATH="$build/site"

if [ $# -eq 0 ]; then
    set -- tests/mapping tests/system/test_fuzz_region.py
fi
LD_PRELOAD="$preload" exec "$python" -m pytest -n auto -p no:cacheprovider "$@"
