# SPDX-License-Identifier: MIT
"""Where /proc is not mounted, as in some sandboxes: what has a name works."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from memlane import Region, Ring
from memlane._region import files as files_module
from tests.support.processes import Child
from tests.support.region_files import needs_mounts, without_proc

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("where", ["named", "path"])
def test_a_region_gets_its_name_where_no_path_leads_to_a_file_without_one(
    where: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bears a hidden name until it is complete; that does not stay."""
    at = tmp_path / "region" if where == "path" else name
    monkeypatch.setattr(files_module, "_path_under_proc", lambda descriptor: f"/none/{descriptor}")
    with Ring.create(at) as ring, Ring.open(at) as again:
        again.put(b"whole")
        received = ring.get()
        ring.unlink()

    assert b"whole" == received
    assert [] == os.listdir(tmp_path)


@needs_mounts
@pytest.mark.parametrize("where", ["named", "path"])
def test_what_has_a_name_works_without_proc(where: str, name: str, tmp_path: Path) -> None:
    """Created, opened, joined, used; in a forked child, too."""
    at = tmp_path / "region" if where == "path" else name

    def use() -> None:
        without_proc()
        with Ring.create(at) as ring:
            with Child(put_by_name, at) as child:
                assert 0 == child.wait()
            assert b"from another" == ring.get(timeout=0)
            with Child(ring.put, b"inherited") as child:
                assert 0 == child.wait()
            assert b"inherited" == ring.get(timeout=0)
            ring.unlink()

    with Child(use) as child:
        assert 0 == child.wait()
    assert [] == os.listdir(tmp_path)


def put_by_name(at: str | Path) -> None:
    with Ring.open(at) as ring:
        ring.put(b"from another")


@needs_mounts
@pytest.mark.parametrize("why", ["no name", "unlinked", "another file"])
def test_what_no_name_leads_to_is_not_joined_without_proc(why: str, tmp_path: Path) -> None:
    """An error that says so; another file of the name is left alone."""
    path = tmp_path / "region"
    with Region.create(None if why == "no name" else path, 4096) as region:
        if why != "no name":
            region.unlink()
        if why == "another file":
            path.write_bytes(b"something else")

        def join() -> None:
            without_proc()
            with pytest.raises(OSError, match=r"no /proc here.* no name leads to it") as caught:
                region.join()
            assert errno.ENOENT == caught.value.errno

        with Child(join) as child:
            assert 0 == child.wait()
    if why == "another file":
        assert b"something else" == path.read_bytes()
