#!/bin/sh
# SPDX-License-Identifier: MIT
# What memlane gives, taken by the real torch and pyarrow. They are heavy, so they get an environment of their own, which
# finds the rest in the usual one. What cannot be installed here is skipped, and said.
#
#     sh tests/extras.sh PYTHON BUILD
set -eu
python=$1
extras=$2/extras
[ -x "$extras/bin/python" ] || "$python" -m venv "$extras"
site=$("$extras/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/usual.pth"
skipped=
for wanted in "torch ${MEMLANE_TORCH:-torch==2.13.0+cpu}" "pyarrow pyarrow"; do
    name=${wanted%% *}
    if "$extras/bin/python" -c "import $name" 2>/dev/null ||
        "$extras/bin/python" -m pip install --quiet --disable-pip-version-check "${wanted#* }"; then
        "$extras/bin/python" -m pytest -q -p no:cacheprovider "tests/extras/with_$name.py"
    else
        skipped="$skipped $name"
    fi
done
[ -z "$skipped" ] || echo "skipped, since it cannot be installed here:$skipped"
