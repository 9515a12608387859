#!/bin/sh
# SPDX-License-Identifier: MIT
# Say what this machine lacks to build memlane with an interpreter, and which package brings it.
#
#   sh tests/machine.sh PYTHON
#
# One line for each thing that is missing, and failure; nothing if all is there. Asked before anything is built:
# what pip, meson and the compiler say about the same is long, and names no package.
set -u

python=$1
missing=0

lacks() {
    echo "$*"
    missing=1
}

if ! command -v "$python" >/dev/null; then
    lacks "there is no $python: install python3, python3-venv and python3-dev (Debian, Ubuntu)" \
        "or python3 and python3-devel (Fedora), or name another interpreter by PYTHON=..."
    exit 1
fi

# Written for any Python, since one that is too old is what it may find. The packages of the distribution's own version
# bear no number.
found=$("$python" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    print("%s is Python %s, memlane needs 3.11 or newer: install a newer one, and name it by PYTHON=..."
          % (sys.argv[1], version))
    sys.exit()
import importlib.util, os, subprocess, sysconfig
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("%s is a free-threaded Python, on which memlane is not tested yet: take the ordinary build of %s"
          % (sys.argv[1], version))
    sys.exit()
try:
    usual = subprocess.run(["/usr/bin/python3", "-c", "import sys; print(\"%d.%d\" % sys.version_info[:2])"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
except OSError:
    usual = ""
package = "python3" if usual == version else "python" + version
if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
    print("Python %s cannot make virtual environments, it has no ensurepip: install %s-venv (Debian, Ubuntu)"
          % (version, package))
include = sysconfig.get_path("include")
if not os.path.exists(os.path.join(include, "Python.h")):
    print("Python %s has no Python.h in %s: install %s-dev (Debian, Ubuntu) or %s-devel (Fedora)"
          % (version, include, package, package))
' "$python") || found="$python does not run: name another interpreter by PYTHON=..."
if [ -n "$found" ]; then lacks "$found"; fi

compiler=${CC:-}
for candidate in cc gcc clang; do
    if [ -z "$compiler" ] && command -v "$candidate" >/dev/null; then compiler=$candidate; fi
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ -z "$compiler" ]; then
    lacks "there is no C compiler (cc, gcc or clang): install gcc"
elif ! command -v ${compiler%% *} >/dev/null; then
    lacks "there is no C compiler ${compiler%% *}, which CC asks for: install it, or unset CC"
else
    printf '%s\n' '#include <semaphore.h>' '#include <linux/futex.h>' 'int main(void) { return FUTEX_WAKE == 0; }' \
        >"$scratch/program.c"
    # (CC may have arguments)
    if ! (cd "$scratch" && $compiler program.c -o program -lpthread) >"$scratch/log" 2>&1; then
        lacks "$compiler cannot build a C program ($(grep -m1 -i error "$scratch/log")): install libc6-dev" \
            "(Debian, Ubuntu), glibc-devel and kernel-headers (Fedora) or musl-dev and linux-headers (Alpine)"
    fi
fi
exit $missing
