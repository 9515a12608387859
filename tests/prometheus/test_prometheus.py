# SPDX-License-Identifier: MIT
"""What `memlane.prometheus` promises: what workers count counts, whoever dies when."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import memlane
from memlane.samples import Samples
from tests.support.processes import Child, unrelated, wait_until

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client import values  # noqa: E402

import memlane.prometheus as prometheus  # noqa: E402 - needs prometheus_client

MODES = ["all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum"]
MODES += ["mostrecent", "livemostrecent"]


@pytest.fixture(autouse=True)
def _values_of_one_test(name: str) -> Iterator[None]:
    """Each test has a region of its own, and leaves prometheus_client as it was."""
    before = values.ValueClass
    prometheus.use(name)
    yield
    values.ValueClass = before
    prometheus._used = None
    prometheus._workers.clear()
    for regions in prometheus._regions.values():
        for store in regions._opened:
            try:
                store.unlink()
            finally:
                store.close()
    prometheus._regions.clear()


def counter(**options: Any) -> Any:
    return prometheus_client.Counter("requests", "help", registry=None, **options)


def gauge(mode: str) -> Any:
    return prometheus_client.Gauge("depth", "help", registry=None, multiprocess_mode=mode)


def scraped() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    collector = prometheus.MultiProcessCollector(None)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def total(name: str = "requests_total", **labels: str) -> float:
    return scraped().get((name, tuple(sorted(labels.items()))), 0.0)


def at_least(number: float) -> bool:
    return total() >= number


def test_what_workers_count_is_added_up() -> None:
    """Forked ones, this one, and a program that was told the name by the environment."""
    requests = counter(labelnames=["path"])

    def work() -> None:
        for _ in range(100):
            requests.labels("/a").inc()
        requests.labels(path="/b").inc(2.5)

    children = [Child(work) for _ in range(3)]
    requests.labels("/a").inc(7)
    assert [0] * 3 == [child.wait() for child in children]
    assert 7.0 == requests.labels("/a")._value.get()
    code = (
        "import memlane.prometheus, prometheus_client\n"
        "made = prometheus_client.Counter('requests', 'help', ['path'])\n"
        "made.labels('/a').inc(1000)"
    )
    used = prometheus._used
    assert used is not None
    environment = {**os.environ, prometheus.VARIABLE: used}
    with unrelated(code, env=environment) as program:
        assert ("", 0) == (program.communicate()[1], program.returncode)
    assert 1307.0 == total(path="/a")
    assert 7.5 == total(path="/b")


def test_a_histogram_of_all_workers_has_the_buckets_of_all() -> None:
    """Its buckets, its count and its sum belong together."""
    seconds = prometheus_client.Histogram("seconds", "help", registry=None, buckets=(1, 2))

    def work() -> None:
        for value in (0.5, 1.5, 5.0):
            seconds.observe(value)

    with Child(work) as one, Child(work) as two:
        assert (0, 0) == (one.wait(), two.wait())
    found = {(name, dict(labels).get("le")): value for (name, labels), value in scraped().items()}
    assert {
        ("seconds_bucket", "1.0"): 2.0,
        ("seconds_bucket", "2.0"): 4.0,
        ("seconds_bucket", "+Inf"): 6.0,
        ("seconds_count", None): 6.0,
        ("seconds_sum", None): 14.0,
    } == found


def gauges_of(mode: str) -> list[float]:
    return sorted(value for (name, _), value in scraped().items() if name == "depth")


@pytest.mark.parametrize("mode", MODES)
def test_gauges_of_the_dead_vanish_or_stay_as_their_mode_says(mode: str) -> None:
    """
    Two workers set 5 and then 3, one dies; nobody tells anyone. Those of workers that live alone
    are gone at the next scrape.
    """
    made = memlane.Event()

    def work(value: float) -> None:
        depth = gauge(mode)
        depth.set(value)
        made.set()
        time.sleep(1000)

    with made, Child(work, 5.0) as first:
        assert made.wait(60)
        made.clear()
        with Child(work, 3.0) as second:
            assert made.wait(60)
            both = {"min": 3.0, "max": 5.0, "sum": 8.0, "mostrecent": 3.0}
            expected = both.get(mode.removeprefix("live"))
            assert ([3.0, 5.0] if expected is None else [expected]) == gauges_of(mode)
            second.kill()
            after = {"all": [3.0, 5.0], "min": [3.0], "sum": [8.0], "mostrecent": [3.0]}
            assert after.get(mode, [5.0]) == gauges_of(mode)
            first.kill()
            assert ([] if mode.startswith("live") else after.get(mode, [5.0])) == gauges_of(mode)


def test_the_place_of_a_dead_worker_is_taken_and_what_it_counted_stays() -> None:
    """A hundred workers, one after the other, need the memory of one."""
    requests = counter()
    depth = gauge("all")

    def work() -> None:
        requests.inc()
        depth.set(4)

    for _ in range(20):
        with Child(work) as child:
            assert 0 == child.wait()
    assert 20.0 == total()
    stats = next(iter(prometheus._regions.values())).first().stats()
    assert 2 == stats["used"]  # this process, and the others
    assert stats["nbytes"] <= 4 * 256
    assert 2 == len(gauges_of("all"))


def test_killed_at_any_moment_each_sample_counts_once_it_was_told_of() -> None:
    """Workers that are killed in the midst of it lose at most the one that was under way."""
    requests = counter()

    with memlane.counters(2) as told:

        def work(index: int) -> None:
            while True:
                requests.inc()
                told[index].add(1)

        dead = 0
        for _ in range(10):
            with Child(work, 0) as one, Child(work, 1) as two:
                wait_until(partial(at_least, total() + 50))
                time.sleep(random.random() / 1000)  # for another moment each time
                one.kill()
                two.kill()
            dead += 2
            assert sum(told.read_all()) <= total() <= sum(told.read_all()) + dead


def test_a_stopped_worker_is_alive_and_holds_nobody_up() -> None:
    """Its gauges stay, and others sample and scrape."""
    begun = memlane.Event()

    def work() -> None:
        gauge("liveall").set(3)
        requests.inc()
        begun.set()
        time.sleep(1000)

    requests = counter()
    with begun, Child(work) as child:
        assert begun.wait(60)
        child.stop()
        requests.inc()
        assert 2.0 == total()
        assert [3.0] == gauges_of("liveall")
        child.kill()
        assert [] == gauges_of("liveall")


def test_metrics_grow_by_regions_when_one_is_full(name: str) -> None:
    """A region of one block holds a few series; the others are in NAME.1 and so on."""
    small = f"{name}-small"
    value = prometheus.MultiProcessValue(os.getpid, small, nbytes="4 KiB", block_nbytes="4 KiB")
    values.ValueClass = value
    many = counter(labelnames=["number"])
    for number in range(50):
        many.labels(str(number)).inc(number)
    prometheus._used = small
    found = scraped()
    assert sum(range(50)) == sum(found.values())
    assert 50 == len(found)
    assert {f"{small}.1", f"{small}.2"} <= set(memlane.Region.names())
    with pytest.raises(ValueError, match="does not fit into a block of 4096"):
        many.labels("x" * 5000)


def test_a_worker_may_have_a_name_of_its_own() -> None:
    """The label "pid" of gauges is what `process_identifier` gives."""
    prometheus.use(prometheus._used, process_identifier=lambda: "worker 3")
    gauge("all").set(2)
    assert {("depth", (("pid", "worker 3"),)): 2.0} == scraped()
    prometheus.mark_process_dead("worker 3")
    assert {("depth", (("pid", "worker 3"),)): 2.0} == scraped()
    with pytest.raises(ValueError, match="at most 56 bytes"):
        prometheus.use(prometheus._used, process_identifier=lambda: "x" * 57)
        gauge("all")


def test_fresh_begins_anew_where_nobody_has_the_region_open(name: str) -> None:
    """Otherwise what was counted before a restart counts on."""
    code = (
        "import sys, memlane.prometheus, prometheus_client\n"
        "memlane.prometheus.use(sys.argv[1], fresh=sys.argv[2] == 'fresh')\n"
        "prometheus_client.Counter('requests', 'help').inc()\n"
        "found = memlane.prometheus.MultiProcessCollector(None).collect()\n"
        "print(found[0].samples[0].value)"
    )
    other = f"{name}-fresh"
    for how, expected in (("on", "1.0\n"), ("on", "2.0\n"), ("fresh", "1.0\n")):
        with unrelated(code, other, how) as program:
            assert expected == program.communicate()[0]
    with memlane.Region.open(other) as region:
        region.unlink()


def test_mistakes_are_told() -> None:
    """No name, and metrics that were made too early."""
    prometheus._used = None
    with pytest.raises(ValueError, match=r"use\(name\), or set the environment variable MEMLANE"):
        prometheus.MultiProcessCollector(None)
    code = (
        "import prometheus_client, warnings\n"
        "prometheus_client.Counter('early', 'help')\n"
        "import memlane.prometheus\n"
        "warnings.simplefilter('error')\n"
        "memlane.prometheus.use('memlane-test-early')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "early; call it before the first metric is made" in ended.stderr
    with memlane.Region.open("memlane-test-early") as region:
        region.unlink()
    with pytest.raises(TypeError):
        counter().inc("1")


def test_bytes_that_no_worker_writes_are_an_error_of_the_scrape_alone() -> None:
    """Whatever is in the region, nothing is read beyond it, and workers go on."""
    requests = counter()
    requests.inc()
    store = next(iter(prometheus._regions.values())).first()
    region = store._region
    with memlane.Mapping.open(f"/dev/shm/memlane.{region.name}", "r+") as mapping:
        entry = region._entries()[0]
        data = entry.offset + entry.nbytes - entry.geometry[0] * entry.geometry[1]
        for value in (b"\xff" * 4, b"\0" * 4):
            before = bytes(mapping[data + 56 : data + 60])
            mapping[data + 56 : data + 60] = value  # the kind of the first sample
            with pytest.raises(memlane.CorruptedError, match="no whole sample"):
                scraped()
            mapping[data + 56 : data + 60] = before
        mapping[entry.offset + 16 : entry.offset + 24] = b"\xff" * 8  # how much is used
        with pytest.raises(memlane.CorruptedError, match="no whole sample"):
            scraped()
    requests.inc()
    assert isinstance(store, Samples)
