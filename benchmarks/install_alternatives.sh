# SPDX-License-Identifier: MIT
# The environment of the benchmark: memlane as it is here, and each alternative that can be had. One that
# cannot is left out with a word: the benchmark measures those that are there.
#
#   sh benchmarks/install_alternatives.sh PYTHON BUILD
set -eu
python=$1
build=$2
alternatives=$build/alternatives

pip() {
    "$alternatives/bin/python" -m pip --disable-pip-version-check --quiet "$@"
}

[ -x "$alternatives/bin/python" ] || "$python" -m venv "$alternatives"
rm -rf "$build/wheel"
"$python" -m pip --disable-pip-version-check --quiet wheel --no-build-isolation --no-deps \
    --config-settings=build-dir="$build/extension" -w "$build/wheel" .
pip install --force-reinstall --no-deps "$build"/wheel/memlane-*.whl

# tachyon-ipc wants a newer compiler than many systems have; clang makes objects for its own linker.
for compiler in g++-15 g++-14 clang++-20 clang++-19 clang++-18 clang++-17; do
    if command -v "$compiler" >/dev/null; then
        newest=$compiler
        break
    fi
done

grep -v '^#' benchmarks/requirements.txt | while read -r wanted; do
    [ -n "$wanted" ] || continue
    (
        case $wanted in
        tachyon-ipc*)
            if [ -n "${newest:-}" ]; then
                export CXX="$newest"
                case $newest in clang*) export LDFLAGS="-fuse-ld=lld-${newest##*-}" ;; esac
            fi
            ;;
        esac
        pip install "$wanted" >"$build/alternatives/pip.log" 2>&1
    ) || echo "without $wanted: $(grep -v '^WARNING' "$build/alternatives/pip.log" | grep -m1 -iE 'requires?:|error' | cut -c1-120)"
done
