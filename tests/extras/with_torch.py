# SPDX-License-Identifier: MIT
"""Tensors go through objects as one copy, and take records, reservations and arrays in place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch  # type: ignore[import-not-found]

import memlane
from memlane._core import Codec


@pytest.fixture
def ring() -> Iterator[memlane.Ring]:
    with memlane.Ring(capacity="64 KiB", producers=1) as made:
        yield made


def through(thing: Any) -> Any:
    return Codec().object_of(Codec().record_of(thing))


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float32, torch.float64, torch.bfloat16, torch.float16),
        *(torch.int64, torch.uint8, torch.bool, torch.complex64),
    ],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (100, 30)])
def test_a_tensor_comes_back_equal_and_writable(dtype: torch.dtype, shape: Any) -> None:
    tensor = torch.ones(shape, dtype=dtype)

    got = through([tensor])[0]

    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(got, tensor)
    got.zero_()
    assert not got.any()


def test_a_batch_of_many_tensors_opens_no_descriptor() -> None:
    batch = {f"tensor {i}": torch.full((500,), i) for i in range(200)}
    before = len(os.listdir("/proc/self/fd"))

    got = through(batch)

    assert len(os.listdir("/proc/self/fd")) == before
    assert all(torch.equal(got[name], batch[name]) for name in batch)


def test_what_a_tensor_is_beyond_its_numbers_comes_back() -> None:
    parameter = torch.nn.Parameter(torch.ones(300))
    turned = torch.arange(600).reshape(20, 30).T
    conjugated = torch.ones(200, dtype=torch.complex64).mul(1j).conj()

    got = through([parameter, turned, conjugated, torch.ones(300, requires_grad=True)])

    assert type(got[0]) is torch.nn.Parameter
    assert got[0].requires_grad
    assert torch.equal(got[1], turned)
    assert torch.equal(got[2], conjugated)
    assert got[3].requires_grad


def test_a_tensor_with_a_history_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(RuntimeError, match=r"send tensor\.detach\(\)"):
        through(torch.ones(300, requires_grad=True) * 2)


def test_a_sparse_tensor_goes_as_torch_has_it() -> None:
    sparse = torch.eye(10).to_sparse()

    assert torch.equal(through(sparse).to_dense(), torch.eye(10))


def test_a_module_goes_with_its_parameters() -> None:
    module = torch.nn.Linear(100, 20)

    got = through(module)

    given = torch.ones(100)
    assert torch.equal(got(given), module(given))


def test_a_borrowed_tensor_is_refused_since_it_could_be_written(ring: memlane.Ring) -> None:
    ring.put(Codec().record_of(torch.ones(1000)))
    with ring.borrow() as record, pytest.raises(BufferError, match="no read-only tensors"):
        Codec().object_of_loan(record)
    ring.put(bytes(60_000), timeout=0)


def test_the_memory_of_a_got_tensor_is_its_own() -> None:
    record = Codec().record_of([torch.ones(1000), torch.zeros(1000)])
    ones, zeros = Codec().object_of(record)
    view = ones[10:20]
    del ones
    zeros += 5
    assert view.sum() == 10


def test_the_tensor_of_an_array_is_in_place() -> None:
    array = memlane.array((10, 10), "f4")
    for tensor in (torch.from_numpy(array), torch.from_dlpack(array), torch.asarray(array)):
        tensor += 1
    assert (array == 3).all()
    del array
    assert (tensor == 3).all()


def test_a_reservation_is_filled_as_a_tensor(ring: memlane.Ring) -> None:
    with ring.reserve(400) as room:
        tensor = torch.from_dlpack(room).view(torch.float32)
        tensor.fill_(2.5)
        del tensor
    assert (np.frombuffer(ring.get(), "f4") == 2.5).all()


def test_a_record_cannot_become_a_tensor_that_writes_into_it(ring: memlane.Ring) -> None:
    """torch imports what is read-only as if it were not, or refuses; it never crashes or leaks."""
    ring.put(bytes(range(100)))
    with ring.borrow() as record:
        try:
            tensor = torch.from_dlpack(record)
        except BufferError:
            pass
        else:
            assert tensor.tolist() == list(range(100))
            del tensor
    del record
    ring.put(bytes(65_000), timeout=0)
