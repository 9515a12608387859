# SPDX-License-Identifier: MIT
"""Arrow's buffers and tables lie in records, which are kept by the last of them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa  # type: ignore[import-not-found]
import pytest

import memlane
from memlane._core import Codec


@pytest.fixture
def ring() -> Iterator[memlane.Ring]:
    with memlane.Ring(capacity="64 KiB", producers=1) as made:
        yield made


def is_occupied(ring: memlane.Ring) -> bool:
    try:
        ring.put(bytes(60_000), timeout=0)
    except memlane.Full:
        return True
    ring.get()
    return False


def stream_of(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_buffer_of_a_loan_is_in_place_and_keeps_it(ring: memlane.Ring) -> None:
    ring.put(b"x" * 10_000)
    record = ring.borrow()
    buffer = pa.py_buffer(record)
    assert not buffer.is_mutable
    record.release()
    assert buffer.slice(5, 3).to_pybytes() == b"xxx"
    assert is_occupied(ring)
    part = buffer.slice(5, 3)
    del buffer
    assert is_occupied(ring)
    del part
    assert not is_occupied(ring)


def test_a_table_of_a_record_that_is_an_ipc_stream_lies_in_the_record(ring: memlane.Ring) -> None:
    table = pa.table({"a": list(range(1000)), "b": [str(i) for i in range(1000)]})
    ring.put(stream_of(table))
    with ring.borrow() as record:
        there = pa.py_buffer(record)
        first, last = there.address, there.address + there.size
        read = pa.ipc.open_stream(there).read_all()
        del there
    column = read["a"].chunk(0).buffers()[1]
    assert first <= column.address < last
    assert read.equals(table)
    assert is_occupied(ring)
    del column, read, record
    assert not is_occupied(ring)


def test_a_table_is_written_into_a_reservation(ring: memlane.Ring) -> None:
    table = pa.table({"a": list(range(100))})
    nbytes = stream_of(table).size
    with ring.reserve(nbytes) as room:
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(room))
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        sink.close()
        del sink, writer
    assert pa.ipc.open_stream(ring.get()).read_all().equals(table)


def test_a_table_in_an_object_is_copied_once_and_borrowed_in_place(ring: memlane.Ring) -> None:
    table = pa.table({"a": list(range(1000))})
    record = Codec().record_of({"table": table, "n": 1})
    assert Codec().object_of(record)["table"].equals(table)
    ring.put(record)
    with ring.borrow() as loan:
        thing = Codec().object_of_loan(loan)
    assert thing["table"].equals(table)
    assert is_occupied(ring)
    del thing, loan
    assert not is_occupied(ring)
