# SPDX-License-Identifier: MIT
"""`memlane top --web` serves one page and its events, to this machine alone."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import memlane
from memlane.cli.top import View
from memlane.cli.web import Server
from tests.support.command import killed_user, run
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine


@pytest.fixture
def server(name: str) -> Iterator[Server]:
    """One that has looked twice at a ring whose producer was killed."""
    killed_user(name)
    with Server(View(name), 1.0, "127.0.0.1", 0) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        made.look()
        made.look()
        yield made
        made.shutdown()
        thread.join(PATIENCE_S)
    run("rm", name)


def asked(server: Server, path: str, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def test_the_page_stands_alone_and_takes_nothing_from_elsewhere(server: Server) -> None:
    """No script, style, font or picture of another address."""
    response = asked(server, "/")
    page = response.read().decode()
    assert (200, "text/html; charset=utf-8") == (response.status, response.headers["Content-Type"])
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "src=" not in page
    assert "innerHTML" not in page
    assert ["http://www.w3.org/2000/svg"] * 2 == [
        word.strip('",') for word in page.replace("(", " ").split() if "http" in word
    ]


def test_events_tell_rates_and_what_is_stuck(server: Server, name: str) -> None:
    """The first one at once, the next one behind each look."""
    response = asked(server, "/events")
    assert "text/event-stream" == response.headers["Content-Type"]
    for _ in range(2):
        told = json.loads(response.readline().removeprefix(b"data: "))
        (row,) = told["objects"]
        assert (name, "ring", True, 0.0) == (
            row["region"],
            row["kind"],
            row["stuck"],
            row["hz"],
        )
        assert b"\n" == response.readline()
        server.look()
    response.close()


def test_a_page_of_another_name_may_not_read_it(server: Server) -> None:
    """Whose name leads to this address; nothing else is served."""
    assert 403 == asked(server, "/events", "evil.example").status
    assert 200 == asked(server, "/", f"localhost:{server.port}").status
    assert 404 == asked(server, "/../pyproject.toml").status


def test_the_command_prints_its_address_and_ends_by_ctrl_c(name: str) -> None:
    """On the loopback, at a free port unless one is asked for; exit code 0."""
    with memlane.Counter.create(name) as counter:
        program = subprocess.Popen(
            [sys.executable, "-m", "memlane", "top", name, "--web", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        address = urlsplit(program.stdout.readline().strip())
        assert ("http", "127.0.0.1") == (address.scheme, address.hostname)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=PATIENCE_S)
        assert (0, "") == (program.returncode, err)
        counter.unlink()
