# SPDX-License-Identifier: MIT
"""The messages of bridges, and what a hostile peer may make of them."""

from __future__ import annotations

import random
import struct
from dataclasses import asdict

import pytest

from memlane.bridge import messages
from memlane.bridge.messages import MessageError, decode, records_of

pytestmark = pytest.mark.machine

DATA = messages.pack_data(7, 1 << 60, 3, 1 << 40, 5, 2, [1, 0, 3])
PART = messages.pack_part(7, 1, 3, 9, 0, 2, 1000, 900)
VALUE = messages.pack_value(1, 2, 3, 4, 0.5, 6, False, b"key")
ACK = messages.pack_ack(1, 2, 9, 8, 700, 6, True, 0.25)
PROBE = messages.pack_probe(1, 2, 3, 0.5)
SOUND = [(DATA, b"abcd"), (PART, bytes(100)), (VALUE, b"keyvalue"), (ACK, b""), (PROBE, b"")]
SOUND.append(messages.pack_text(messages.OPEN, 1, 2, {"kind": "ring", "path": ["a"]}))


def test_a_message_is_decoded_as_it_was_packed() -> None:
    """Every field of every kind."""
    found = [asdict(decode(*message)) for message in SOUND]

    assert [
        {
            "kind": 4,
            "stream": 7,
            "epoch": 1 << 60,
            "number": 3,
            "first": 1 << 40,
            "lost": 5,
            "lane": 2,
            "lengths": (1, 0, 3),
            "body": b"abcd",
        },
        {
            "kind": 5,
            "stream": 7,
            "epoch": 1,
            "number": 3,
            "first": 9,
            "lost": 0,
            "lane": 2,
            "nbytes": 1000,
            "offset": 900,
            "body": bytes(100),
        },
        {
            "kind": 6,
            "stream": 1,
            "epoch": 2,
            "number": 3,
            "version": 4,
            "age": 0.5,
            "index": 6,
            "removed": False,
            "key": b"key",
            "body": b"value",
        },
        {
            "kind": 7,
            "stream": 1,
            "epoch": 2,
            "received": 9,
            "committed": 8,
            "written": 700,
            "doubled": 6,
            "gap": True,
            "stamp": 0.25,
        },
        {"kind": 8, "stream": 1, "epoch": 2, "number": 3, "stamp": 0.5},
        {"kind": 1, "stream": 1, "epoch": 2, "facts": {"kind": "ring", "path": ["a"]}},
    ] == found


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        (b"", b"", "has 0 bytes"),
        (b"xx" + DATA[2:], b"abcd", "begins with"),
        (DATA[:2] + b"\x09" + DATA[3:], b"abcd", "speaks version 9 of the protocol, this one 1"),
        (DATA[:3] + b"\x63" + DATA[4:], b"abcd", "no message of kind 99"),
        (DATA, b"abc", "records have 4 bytes, and the body 3"),
        (DATA[:-1], b"abcd", "tells of 3 records"),
        (messages.pack_data(1, 2, 3, 4, 5, 6, []), b"", "tells of 0 records"),
        (messages.pack_data(1, 2, 3, (1 << 64) - 1, 5, 6, [1]), b"a", "no lane reaches"),
        (PART, bytes(101), "leaves its 1000"),
        (PART, b"", "leaves its 1000"),
        (VALUE, b"ke", "a key has 3 bytes"),
        (ACK[:-1], b"", "a head has"),
        (messages.pack_text(messages.OPEN, 1, 2, {})[0], b"[]", "a JSON list"),
        (messages.pack_text(messages.OPEN, 1, 2, {})[0], b"[" * 60_000, "no JSON"),
        (messages.pack_text(messages.OPEN, 1, 2, {})[0], b"\xff", "no JSON"),
        (messages.pack_text(messages.OPEN, 1, 2, {})[0], bytes(1 << 17), "a text has"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(head: bytes, body: bytes, text: str) -> None:
    """Each length is compared with what is there."""
    with pytest.raises(MessageError, match=text):
        decode(head, body)


def test_no_bytes_make_decoding_fail_otherwise() -> None:
    """Sound messages with spoilt bytes, cut, or put together: decoded, or a MessageError."""
    chance = random.Random(18)
    refused = 0
    for _ in range(20_000):
        head, body = map(bytearray, chance.choice(SOUND))
        for _ in range(chance.randrange(1, 6)):
            some = chance.choice([head, body])
            how = chance.randrange(4)
            if how == 0 and some:
                some[chance.randrange(len(some))] = chance.randrange(256)
            elif how == 1:
                del some[chance.randrange(len(some) + 1) :]
            elif how == 2:
                some += chance.randbytes(chance.randrange(20))
            elif len(some) >= 8:
                at = chance.randrange(len(some) - 7)
                some[at : at + 8] = struct.pack("<Q", chance.choice([0, 1, 1 << 32, (1 << 64) - 1]))
        try:
            message = decode(bytes(head), bytes(body))
        except MessageError:
            refused += 1
            continue
        if isinstance(message, messages.Data):
            assert message.body == b"".join(records_of(message.lengths, message.body))
    assert 1000 < refused < 20_000


@pytest.mark.parametrize("lengths", [[4, 4, 4], [0, 0], [1, 600, 0, 3], [700, 700], [5], [3] * 200])
def test_records_are_cut_out_of_a_body_by_their_lengths(lengths: list[int]) -> None:
    """From any one on."""
    records = [bytes([65 + number % 64]) * length for number, length in enumerate(lengths)]

    for start in range(len(lengths)):
        found = records_of(lengths, b"".join(records), start)
        assert records[start:] == [bytes(record) for record in found]
