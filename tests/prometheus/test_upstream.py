# SPDX-License-Identifier: MIT
"""prometheus_client's own tests of its multiprocess mode, with our values."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import unittest
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client import values  # noqa: E402

import memlane.prometheus as prometheus  # noqa: E402 - needs prometheus_client

_FILES = "asks for the files of the multiprocess mode, and there are none"
_SPELLING = "is about the old spelling of prometheus_client's own environment variable"
#: What is left out, and why.
EXCLUDED = {
    "TestMultiProcessDeprecation.test_deprecation_warning": _SPELLING,
    "TestMultiProcessDeprecation.test_mark_process_dead_respects_lowercase": _SPELLING,
    "TestMultiProcess.test_initialization_detects_pid_change": _FILES,
    "TestMultiProcess.test_missing_gauge_file_during_merge": _FILES,
    "TestMmapedDict.test_process_restart": _FILES,
    "TestMmapedDict.test_expansion": _FILES,
    "TestMmapedDict.test_multi_expansion": _FILES,
    "TestMmapedDict.test_corruption_detected": _FILES,
}
MADE_FOR = "0.26.0"


def sdist() -> Path:
    """The source archive of the version that is installed, kept in build/."""
    version = MADE_FOR
    kept = ROOT / "build" / "sdists"
    kept.mkdir(parents=True, exist_ok=True)
    found = kept / f"prometheus_client-{version}.tar.gz"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "prometheus_client", "--dest", str(kept)]
        asked = subprocess.run(
            [*command, f"prometheus_client=={version}"], capture_output=True, text=True
        )
        if not found.exists():
            pytest.skip(f"the source of prometheus_client cannot be had: {asked.stderr[-200:]}")
    return found


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Its test module, with our values, collector and marks in place of its own."""
    source = f"prometheus_client-{MADE_FOR}/tests/test_multiprocess.py"
    folder = tmp_path_factory.mktemp("upstream")
    with tarfile.open(sdist()) as archive:
        member = archive.extractfile(source)
        assert member is not None
        (folder / "test_multiprocess.py").write_bytes(member.read())
    described = importlib.util.spec_from_file_location(
        "upstream_test_multiprocess", folder / "test_multiprocess.py"
    )
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    ours: dict[str, Any] = {
        "MultiProcessValue": lambda identify=os.getpid: prometheus.MultiProcessValue(
            identify, _region()
        ),
        "MultiProcessCollector": lambda registry, path=None: prometheus.MultiProcessCollector(
            registry, path or _region()
        ),
        "mark_process_dead": prometheus.mark_process_dead,
        "get_value_class": lambda: prometheus.MultiProcessValue(os.getpid, _region()),
    }
    for name, thing in ours.items():
        assert hasattr(module, name)
        setattr(module, name, thing)
    return module


def _region() -> str | None:
    """The name for the folder that a test has made."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return None if folder is None else f"memlane-test-{os.path.basename(folder)}"


def _forget() -> None:
    prometheus._workers.clear()
    for regions in prometheus._regions.values():
        for store in regions._opened:
            store.unlink()
            store.close()
    prometheus._regions.clear()


def test_the_tests_of_prometheus_client_pass_but_for_those_that_ask_for_files(
    upstream: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each exclusion has its reason, and there is none of a test that is not there."""
    before = values.ValueClass
    # which closes files; what a worker has counted stays here
    monkeypatch.setattr(values, "close_all_multiprocess_files", lambda: None)
    suite = unittest.defaultTestLoader.loadTestsFromModule(upstream)
    cases: list[Any] = [case for group in suite for case in group]  # type: ignore[union-attr]
    names = {".".join(case.id().split(".")[-2:]) for case in cases}
    assert set() == set(EXCLUDED) - names
    ran = 0
    try:
        for case in cases:
            if ".".join(case.id().split(".")[-2:]) in EXCLUDED:
                continue
            result = unittest.TestResult()
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # which these tests count on
                case.run(result)
            assert [] == [text for _, text in result.failures + result.errors]
            assert [] == result.skipped
            ran += 1
            _forget()
    finally:
        values.ValueClass = before
        _forget()
    assert ran >= 25
