# SPDX-License-Identifier: MIT
"""
The metrics of all worker processes in one region: values for prometheus_client.

    import memlane.prometheus

    memlane.prometheus.use("web")  # before the first metric is made, in each worker

    registry = prometheus_client.CollectorRegistry()
    memlane.prometheus.MultiProcessCollector(registry)
    prometheus_client.generate_latest(registry)  # of all workers, in any of them

A sample is one atomic step on memory of the worker's own. What a worker has counted counts on when
it dies, and its live gauges vanish: nobody has to be told.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._region import sweep
from memlane.errors import RegionNotFoundError
from memlane.samples import Samples

try:
    import prometheus_client
    from prometheus_client import values as _values
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample
    from prometheus_client.utils import floatToGoString
except ImportError as _missing:
    raise ImportError(
        "memlane.prometheus needs prometheus_client, which is not installed; install "
        "memlane[metrics]",
        name=_missing.name,
    ) from None

__all__ = ["MultiProcessCollector", "MultiProcessValue", "mark_process_dead", "use"]

#: The environment variable that names the region, as `use()` does.
VARIABLE = "MEMLANE_PROMETHEUS"

_NBYTES, _BLOCK_NBYTES = "64 MiB", "128 KiB"
_REGIONS_MAX = 1000  # arbitrary: a program that makes so many series never ends

Name = str | os.PathLike[str]


class _Regions:
    """
    The regions of one name: the first bears it, and each further one, made when those before are
    full, a number behind it.
    """

    def __init__(self, name: Name, nbytes: int | str, block_nbytes: int | str, mode: int) -> None:
        self._name, self._nbytes, self._block_nbytes, self._mode = name, nbytes, block_nbytes, mode
        self._opened: list[Samples] = []

    def name(self, number: int) -> Name:
        if number == 0:
            return self._name
        if isinstance(self._name, str):
            return f"{self._name}.{number}"
        path = Path(self._name)
        return path.with_name(f"{path.name}.{number}")

    def first(self) -> Samples:
        return next(self.each())

    def each(self, grows: bool = False) -> Iterator[Samples]:
        """
        All that there are, those of other processes, too, and with *grows* new ones for ever.

        Raises:
            OSError: a new one cannot be made, or there are too many.
        """
        for number in range(_REGIONS_MAX):
            if number == len(self._opened):
                if number == 0 or grows:
                    made = Samples.open_or_create(
                        self.name(number),
                        nbytes=self._nbytes,
                        block_nbytes=self._block_nbytes,
                        permissions=self._mode,
                    )
                else:
                    try:
                        made = Samples.open(self.name(number))
                    except RegionNotFoundError:
                        return
                made._region._warns = False  # open for as long as there are metrics
                self._opened.append(made)
            yield self._opened[number]
        if grows:
            raise OSError(f"the metrics in {self._name!r} fill {_REGIONS_MAX} regions")

    def remove_stale(self) -> None:
        """Remove those that no process has open."""
        for number in range(_REGIONS_MAX):
            try:
                sweep.remove(self.name(number))
            except FileNotFoundError:
                return
            except BlockingIOError:
                continue


class _Workers:
    """The workers that this process is: one in each epoch, unless it is told who is who."""

    def __init__(self, regions: _Regions, identify: Callable[[], object]) -> None:
        self._regions, self._identify = regions, identify
        self._epoch = 0
        self._locks: dict[int, threading.RLock] = {}
        self._blocks: dict[object, list[_core.SampleBlock]] = {}

    def sample(self, key: bytes, kind: int) -> _core.Sample:
        """
        The sample of the present worker for a series.

        Raises:
            OSError: there is no memory for it.
            ValueError: the key, or the name of the worker, is too long.
        """
        epoch = _core.fork_epoch()
        lock: Any = self._locks.get(epoch)  # one that a fork left locked is not met again
        with lock or self._locks.setdefault(epoch, threading.RLock()):
            identity = self._identify()
            if self._epoch != epoch:
                self._epoch, self._blocks = epoch, {}
            blocks = self._blocks.get(identity, [])
            blocks = self._blocks[identity] = [block for block in blocks if block.is_mine()]
            for block in blocks:
                found = block.find(key, kind)
                if found is not None:
                    return found
            for block in reversed(blocks):
                made = block.append(key, kind)
                if made is not None:
                    return made
            block = self._lease(_name_of(identity), key)
            blocks.append(block)
            made = block.find(key, kind) or block.append(key, kind)
            assert made is not None, "a block was chosen that has room"
            return made

    def _lease(self, name: bytes, key: bytes) -> _core.SampleBlock:
        for store in self._regions.each(grows=True):
            room = store._region._entries()[0].geometry[1]
            if _core.sample_nbytes(len(key)) > room:
                raise ValueError(
                    f"a series whose name, labels and help have {len(key)} bytes does not fit into "
                    f"a block of {room}; give use() a larger block_nbytes"
                )
            block = store._lease(name, key)
            if block is not None:
                return block
        raise AssertionError("each() ends by an error")

    def end(self, identity: str) -> None:
        if self._epoch == _core.fork_epoch():
            for mine, blocks in list(self._blocks.items()):
                if str(mine) == identity:
                    del self._blocks[mine]
                    for block in blocks:
                        block.give_back()


#: What this process has, by the name of the first region.
_regions: dict[str, _Regions] = {}
_workers: list[_Workers] = []
_used: str | None = None


def _name_of(identity: object) -> bytes:
    name = str(identity).encode()
    if len(name) > _core.SAMPLES_NAME_MAX:
        raise ValueError(
            f"a process_identifier must give at most {_core.SAMPLES_NAME_MAX} bytes of text, got "
            f"{len(name)}: {_arguments.shown(identity)}"
        )
    return name


def _asked(name: Name | None) -> Name:
    """
    Raises:
        ValueError: nobody has said what the region is called.
    """
    found = name if name is not None else _used or os.environ.get(VARIABLE)
    if not found:
        raise ValueError(
            f"the region of the metrics has no name yet; call memlane.prometheus.use(name), or set "
            f"the environment variable {VARIABLE}"
        )
    return found


def _regions_of(
    name: Name,
    nbytes: int | str = _NBYTES,
    block_nbytes: int | str = _BLOCK_NBYTES,
    permissions: int = 0o600,
) -> _Regions:
    known = os.fspath(name) if isinstance(name, str) else os.path.abspath(name)
    found = _regions.get(known)
    if found is None:
        found = _Regions(name, nbytes, block_nbytes, permissions)
        found.first()
        found = _regions.setdefault(known, found)
    return found


def MultiProcessValue(  # noqa: N802 - as prometheus_client calls it
    process_identifier: Callable[[], object] = os.getpid,
    name: Name | None = None,
    *,
    nbytes: int | str = _NBYTES,
    block_nbytes: int | str = _BLOCK_NBYTES,
    permissions: int = 0o600,
) -> type:
    """
    Make a class for `prometheus_client.values.ValueClass`; `use` does that. The arguments are those
    of `use`.

    Raises:
        As `use`.
    """
    regions = _regions_of(_asked(name), nbytes, block_nbytes, permissions)
    workers = _Workers(regions, process_identifier)
    _workers.append(workers)
    # a fork is seen without asking
    identify = None if process_identifier is os.getpid else process_identifier

    class RegionValue(_core.SampleValue):
        """A number of this worker's."""

        _multiprocess = True

        def __init__(
            self,
            typ: str,
            metric_name: str,
            name: str,
            labelnames: Any,
            labelvalues: Any,
            help_text: str,
            multiprocess_mode: str = "",
            **_others: Any,
        ) -> None:
            mode = multiprocess_mode if typ == "gauge" else ""
            labels = dict(zip(labelnames, labelvalues, strict=False))
            described = [typ, mode, metric_name, name, labels, help_text]
            key = json.dumps(described, sort_keys=True).encode()
            self._begin(workers, key, _core.SAMPLE_KINDS[mode], identify)

        def set_exemplar(self, _exemplar: Any) -> None:
            """Exemplars are not kept, as in prometheus_client's own multiprocess mode."""

        def get_exemplar(self) -> None:
            """There is none."""

    return RegionValue


def use(
    name: Name | None = None,
    *,
    nbytes: int | str = _NBYTES,
    block_nbytes: int | str = _BLOCK_NBYTES,
    permissions: int = 0o600,
    process_identifier: Callable[[], object] = os.getpid,
    fresh: bool = False,
) -> None:
    """
    Have all metrics of prometheus_client that are made from now on keep their values in the region
    *name*. Call it in each worker, or before they are forked.

    Importing this module does it if the environment variable MEMLANE_PROMETHEUS names the region.

    Args:
        name: A str names POSIX shared memory, an os.PathLike a file; None: what the environment
            variable MEMLANE_PROMETHEUS says. It stays until it is unlinked or swept: what was
            counted before a restart of all workers counts on.
        nbytes: The size of a region. Memory is reserved as workers come. When one is full the next
            one is made, NAME.1 and so on.
        block_nbytes: What a worker reserves at once; the text of a series must fit into it.
        permissions: File permission bits of new regions.
        process_identifier: Gives the label "pid" of gauges: by default the process id. Of
            processes that run at the same time it must differ.
        fresh: Begin anew if no process has the region open.

    Raises:
        ValueError: there is no name, or an argument is out of range.
        OSError, LayoutError, CorruptedError: as `Region.open_or_create`.
    """
    global _used
    asked = _asked(name)
    if fresh:
        _Regions(asked, nbytes, block_nbytes, permissions).remove_stale()
    made = MultiProcessValue(
        process_identifier,
        asked,
        nbytes=nbytes,
        block_nbytes=block_nbytes,
        permissions=permissions,
    )
    before = _made_before()
    if before:
        warnings.warn(
            f"metrics that were made before memlane.prometheus.use() count in their process alone: "
            f"{before}; call it before the first metric is made",
            RuntimeWarning,
            2,
        )
    _used = os.fspath(asked) if isinstance(asked, str) else os.path.abspath(asked)
    _values.ValueClass = made


def _made_before() -> str:
    """The names of metrics whose values are those of one process, as far as they can be found."""
    found: list[str] = []
    for collector in list(prometheus_client.REGISTRY._collector_to_names):
        value = getattr(collector, "_value", None)
        if isinstance(value, _values.MutexValue):
            found.append(str(getattr(collector, "_name", "?")))
    return ", ".join(sorted(found)[:5])


def mark_process_dead(pid: object, path: Name | None = None) -> None:
    """
    Nothing has to call this: the kernel tells who is dead. It is here for programs that call
    prometheus_client's, and ends a worker that this very process was under another identifier.
    Never fails.
    """
    del path
    for workers in list(_workers):
        workers.end(str(pid))


# ---- adding up -----------------------------------------------------------------------------------


class _Series:
    """What the key of a series says."""

    __slots__ = ("group", "help", "label", "metric", "mode", "name", "typ")

    def __init__(self, key: bytes) -> None:
        self.typ, self.mode, self.metric, self.name, labels, self.help = json.loads(key)
        self.group = tuple(sorted(labels.items()))
        self.label = ""
        if self.typ == "histogram" and "le" in labels:
            self.label = labels["le"]
            self.group = tuple(pair for pair in self.group if pair[0] != "le")


def _joined(mode: str, found: list[float]) -> float:
    """One number of those of series that differ in their help only."""
    if mode.endswith("min"):
        return min(found)
    if mode.endswith("max"):
        return max(found)
    return sum(found) if mode in ("", "sum", "livesum") else found[-1]


class MultiProcessCollector:
    """
    All metrics of all workers, for a registry of prometheus_client: as its own
    MultiProcessCollector, without files.

    Any process may have one, also one that is no worker. It adds up when it is asked, and starts no
    thread.
    """

    def __init__(self, registry: Any, path: Name | None = None) -> None:
        """
        Args:
            registry: Where to register it, a `CollectorRegistry`; None: nowhere.
            path: The name of the region; None: that of `use`, or of the environment variable.

        Raises:
            ValueError: there is no name.
            OSError, LayoutError, CorruptedError: as `Region.open_or_create`.
        """
        self._regions = _regions_of(_asked(path))
        self._totals = _core.SampleTotals()
        self._series: list[_Series] = []
        self._lock = threading.Lock()
        if registry:
            registry.register(self)

    def collect(self) -> Any:
        """
        Add up: a list of metrics, as prometheus_client has them.

        Raises:
            CorruptedError: bytes that no worker writes.
            ClosedError: the region was removed.
        """
        return self.merge()

    def merge(self, _files: object = None, accumulate: bool = True) -> Any:
        """As `collect`; without *accumulate* the buckets of histograms are not added up."""
        with self._lock:
            totals = self._totals
            totals.begin()
            for store in self._regions.each():
                totals.add(store)
            values, told = totals.values(), totals.told
            for key, _kind in totals.series[len(self._series) :]:
                self._series.append(_Series(key))
            series = self._series
        return _metrics(series, values, told, accumulate)


def _metrics(
    series: list[_Series],
    values: list[float | None],
    told: list[tuple[int, bytes, float]],
    accumulate: bool,
) -> list[Any]:
    metrics: dict[str, Any] = {}
    plain: dict[str, dict[Any, list[float]]] = {}
    buckets: dict[str, dict[Any, dict[float, float]]] = {}
    modes: dict[str, str] = {}
    by_worker: dict[int, list[tuple[bytes, float]]] = {}
    for number, worker, value in told:
        by_worker.setdefault(number, []).append((worker, value))
    for number, (one, total) in enumerate(zip(series, values, strict=True)):
        found = by_worker.get(number, ())
        if total is None and not found:
            continue
        if one.metric not in metrics:
            metrics[one.metric] = Metric(one.metric, one.help, one.typ)
            plain[one.metric], buckets[one.metric] = {}, {}
        modes[one.metric] = one.mode
        groups = plain[one.metric]
        for worker, value in found:
            pid = ("pid", worker.decode(errors="replace"))
            groups.setdefault(((*one.group, pid), one.name), []).append(value)
        if total is None:
            continue
        if one.label:
            of_group = buckets[one.metric].setdefault(one.group, {})
            bound = float(one.label)
            of_group[bound] = of_group.get(bound, 0.0) + total
            groups.setdefault((one.group, ""), [])  # keeps its place
        else:
            groups.setdefault((one.group, one.name), []).append(total)
    for name, metric in metrics.items():
        mode = modes[name]
        order: dict[Any, list[Any]] = {}
        for (group, sample), numbers in plain[name].items():
            samples = order.setdefault(group, [])
            if numbers:
                samples.append(Sample(sample, dict(group), _joined(mode, numbers)))
        for group, of_group in buckets[name].items():
            order[group] += _histogram(name, group, of_group, accumulate)
        metric.samples = [sample for samples in order.values() for sample in samples]
    return list(metrics.values())


def _histogram(
    name: str, group: tuple[tuple[str, str], ...], buckets: dict[float, float], accumulate: bool
) -> Iterator[Any]:
    """The samples of the buckets of a histogram, each with those below it."""
    total = 0.0
    for bound in sorted(buckets):
        total += buckets[bound]
        labels = {**dict(group), "le": floatToGoString(bound)}  # type: ignore[no-untyped-call]
        yield Sample(f"{name}_bucket", labels, total if accumulate else buckets[bound])
    if accumulate:
        yield Sample(f"{name}_count", dict(group), total)


if os.environ.get(VARIABLE):
    use()
