# SPDX-License-Identifier: MIT
"""What `memlane.metrics` promises: what goes through a region, for Prometheus, looked up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import memlane
from memlane import Region, metrics


@pytest.fixture
def region() -> Iterator[Region]:
    """One of each kind, with something in it."""
    with Region.create(None, "8 MiB", label="robot") as made:
        ring = made.ring("frames", capacity="64 KiB", producers=2)
        for number in range(3):
            ring.put(bytes(number))
        ring.get()
        topic = made.topic("ticks", capacity="64 KiB", publishers=2, subscribers=2)
        with topic.subscribe():
            topic.publish(b"tick")
            made.slot("pose", "d").publish(1.0)
            made.table("table", 2, "d")[1].publish(2.0)
            made.map("map", entries=8, value="q")["a"] = 1
            made.counter("hits").add(-3)
            made.counters("many", 2)[1].add(5)
            made.event("event").set()
            with made.lock("lock"):
                yield made


def found(region: Region) -> dict[tuple[str, str], float]:
    """Each sample by its name and the last of its labels."""
    return {
        (family.name, labels[-1][1]): value
        for family in metrics.Gathering().look([("robot", region)])
        for labels, value in family.samples
    }


def test_each_kind_of_object_tells_what_goes_through_it(region: Region) -> None:
    """Counts, depths, ages and states, by region and object."""
    told = found(region)
    expected = {
        ("memlane_ring_records", "0"): 3,
        ("memlane_ring_received", "0"): 1,
        ("memlane_ring_depth_records", "frames"): 2,
        ("memlane_ring_capacity_bytes", "frames"): 65536,
        ("memlane_ring_full", "frames"): 0,
        ("memlane_ring_bytes", "frames"): 3,
        ("memlane_topic_records", "0"): 1,
        ("memlane_slot_published", "pose"): 1,
        ("memlane_table_published", "1"): 1,
        ("memlane_map_keys", "map"): 1,
        ("memlane_counter_value", "hits"): -3,
        ("memlane_counters_value", "1"): 5,
        ("memlane_event_set", "event"): 1,
        ("memlane_lock_held", "lock"): 1,
        ("memlane_participants", "alive"): 1,
        ("memlane_unreadable_objects", "robot"): 0,
    }
    assert expected == {name: told[name] for name in expected}
    lag = [labels for name, labels in told if name == "memlane_topic_subscriber_lag_records"]
    assert 1 == len(lag)


def test_bytes_are_counted_on_from_look_to_look(region: Region) -> None:
    """Also those of records that came and went in between."""
    gathering = metrics.Gathering()

    def nbytes() -> float:
        families = {it.name: it for it in gathering.look([("robot", region)])}
        return families["memlane_ring_bytes"].samples[0][1]

    before = nbytes()
    region.ring("frames").put(bytes(1000))
    assert before + 1000 == nbytes()
    assert before + 1000 == nbytes()


def test_an_object_that_is_corrupted_hides_no_other_one(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted."""

    def refuse(_slot: memlane.Slot[float]) -> dict[str, object]:
        raise memlane.CorruptedError("bytes that no writer writes")

    monkeypatch.setattr(memlane.Slot, "stats", refuse)
    told = found(region)
    assert 1 == told["memlane_unreadable_objects", "robot"]
    assert 3 == told["memlane_ring_records", "0"]


def test_text_is_in_the_format_of_openmetrics(region: Region) -> None:
    """With types, help, escaped labels, and the end that says that it is whole."""
    said = metrics.text(metrics.Gathering().look([('a "b"\\\n', region)], "frames"))
    assert said.endswith("# EOF\n")
    assert "# TYPE memlane_ring_records counter\n" in said
    line = 'memlane_ring_records_total{region="a \\"b\\"\\\\\\n",object="frames",producer="0"} 3\n'
    assert line in said
    assert "pose" not in said
    assert "memlane_ring_depth_records{" in said
    prometheus_client = pytest.importorskip("prometheus_client")
    assert prometheus_client
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    assert "memlane_ring_records" in {
        it.name
        for it in text_string_to_metric_families(said)  # type: ignore[no-untyped-call]
    }


def test_a_collector_tells_a_registry_of_prometheus_client(region: Region) -> None:
    """Each scrape looks anew, and a region that was closed says so."""
    prometheus_client = pytest.importorskip("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.collector(region))
    labels = {"region": "robot", "object": "hits"}
    assert -3 == registry.get_sample_value("memlane_counter_value", labels)
    region.counter("hits").add(1)
    assert -2 == registry.get_sample_value("memlane_counter_value", labels)
    frames = {"region": "robot", "object": "frames", "producer": "0"}
    assert 3 == registry.get_sample_value("memlane_ring_records_total", frames)
    with Region.create(None, "64 KiB") as closed:
        looks = metrics.collector(closed)
    with pytest.raises(memlane.ClosedError):
        list(looks.collect())
    with pytest.raises(TypeError, match=r"take \.region"):
        metrics.collector(region.counter("hits"))  # type: ignore[arg-type]
