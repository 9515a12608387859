# SPDX-License-Identifier: MIT
"""Bridge: the streams of a process to and from its peers, and the thread that looks after them."""

from __future__ import annotations

import hashlib
import os
import queue
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import memlane._arguments as _arguments
from memlane.bridge import messages
from memlane.bridge.engine import Engine, LinkLost
from memlane.bridge.hub import TRY_AGAIN_S
from memlane.bridge.incoming import Receiver, RecordsIn
from memlane.bridge.messages import Ack, MessageError, OpenRequest, Text
from memlane.bridge.objects import open_here, open_or_make
from memlane.bridge.outgoing import RecordsOut, RingOut, Stream, TopicOut
from memlane.bridge.rules import KINDS, Rules
from memlane.bridge.status import Status, is_of_bridges
from memlane.bridge.values import ValuesIn, ValuesOut
from memlane.bridge.zenoh_engine import ZenohEngine
from memlane.errors import MemlaneError
from memlane.region import Region

__all__ = ["Bridge"]

#: What a bridge told last. Arbitrary.
_TOLD_MAX = 100
#: Streams of one peer at most. Arbitrary.
_STREAMS_MAX = 4096
#: How often names are looked for.
_LOOK_S = 0.5

_VALUES = ("slot", "table", "map")
_SENDERS: dict[str, type[Stream]] = {
    "ring": RingOut,
    "topic": TopicOut,
    **dict.fromkeys(_VALUES, ValuesOut),
}
_RECEIVERS: dict[str, type[Receiver]] = {
    "ring": RecordsIn,
    "topic": RecordsIn,
    **dict.fromkeys(_VALUES, ValuesIn),
}


class _NotAllowed(ValueError):
    """The rules here do not let a peer write an object of that name."""


class Bridge:
    """
    Carries rings, topics, slots, tables and maps to other machines.

    It listens nowhere, connects to nobody, carries nothing and lets nobody write anything unless it
    is told to. An ordinary process of its regions: it is a consumer of what it carries, and a
    producer of what its peers carry here. A context manager; it works from the moment that it is
    made.

    Args:
        listen: Endpoints as "tcp/0.0.0.0:7447", where peers may connect.
        connect: Endpoints of peers; those that are not there are tried again and again.
        carry: What goes to the peers: texts as "ring:frames", "topic:ticks*", "slot:robot/pose".
        allow: Patterns of names that peers may write, and make if they are not there.
        deny: Patterns of names that are carried in no direction.
        rename: Names here, and what the peers call them.
        name: The name of this bridge among its peers: letters, digits, "-" and "_". It tells a
            bridge that was started again from another one. By default it follows from the machine
            and the other arguments.
        config: More of the configuration of Zenoh: paths with values, as {"transport/link/tls":
            {...}}, or the path of a file.
        window: How many bytes may be on the way, of each object; of a peer's object the smaller
            one of both counts.
        largest: How large an object may be that a peer makes here.
        engine: What carries messages in place of Zenoh.
        on_event: Called with a text for people when something happens, by any thread.

    Raises:
        ImportError: Zenoh is not installed.
        OSError: it cannot listen there.
        TypeError, ValueError: an argument cannot be meant.
    """

    def __init__(
        self,
        listen: Iterable[str] = (),
        connect: Iterable[str] = (),
        *,
        carry: Iterable[str] = (),
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | str | None = None,
        window: int | str = "16 MiB",
        largest: int | str = "1 GiB",
        engine: Engine | None = None,
        on_event: Callable[[str], object] | None = None,
    ) -> None:
        ends = {"listen": listen, "connect": connect}
        for what, given in ends.items():
            if isinstance(given, str):
                raise TypeError(f"{what} takes a list of endpoints, got one; write [{given!r}]")
        listens, connects = list(listen), list(connect)
        for endpoint in (*listens, *connects):
            if not isinstance(endpoint, str) or not re.fullmatch(r"[a-z]+/[^/\s]+", endpoint):
                raise ValueError(
                    "an endpoint is PROTOCOL/ADDRESS as 'tcp/192.0.2.1:7447', got "
                    f"{_arguments.shown(endpoint)}"
                )
        self.rules = Rules.checked(carry, allow, deny, rename or {})
        self.window = _arguments.size(window, "window")
        if not 1 << 16 <= self.window <= 1 << 40:
            raise ValueError(f"window must be from 64 KiB to 1 TiB, got {window!r}")
        self.largest = _arguments.size(largest, "largest")
        if name is None:
            name = _default_name(listens, connects, self.rules)
        elif not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise ValueError(
                f"name must be 1 to 64 letters, digits, '-' and '_', got {_arguments.shown(name)}"
            )
        self.name = name
        self.node = f"{name}.{secrets.token_hex(8)}"
        self.stopping = threading.Event()
        self._on_event = on_event
        self._told: deque[tuple[float, str]] = deque(maxlen=_TOLD_MAX)
        self._lock = threading.Lock()
        self._nodes: dict[str, str] = {}
        self._lost: dict[str, float] = {}
        self._outgoing: dict[int, Stream] = {}
        self._incoming: dict[tuple[str, int], Receiver] = {}
        self._last_number = 0
        #: Why an object that is to be carried is not, by its kind and name.
        self._missing: dict[tuple[str, str], str] = {}
        self._tasks: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._refused = 0
        self._wrong = ""
        self._is_closed = False
        self._engine: Engine = ZenohEngine(listens, connects, config) if engine is None else engine
        self._engine.start(self.node, self)
        self._status = Status(name)
        self._thread = threading.Thread(target=self._look_after, name="memlane bridge", daemon=True)
        self._thread.start()

    # ---- what streams ask of it ------------------------------------------------------------------

    def send(self, node: str, head: bytes, body: bytes | bytearray, *, wait: bool = True) -> bool:
        """Hand a message over, for the streams; False: there is no link."""
        try:
            self._engine.send(node, head, body, wait=wait)
        except LinkLost:
            return False
        return True

    def nodes(self) -> dict[str, str]:
        """The peers that can be sent to now: the node of each by its name."""
        with self._lock:
            return dict(self._nodes)

    def tell(self, text: str) -> None:
        """Tell the user of something that happened, for the streams."""
        self._told.append((time.time(), text))
        if self._on_event is not None:
            self._on_event(text)

    # ---- what the engine tells -------------------------------------------------------------------

    def found(self, peer: str) -> None:
        """A peer can be sent to, as the engine tells."""
        name = peer.rpartition(".")[0]
        with self._lock:
            if self.stopping.is_set() or not name or self._nodes.get(name) == peer:
                return
            self._nodes[name] = peer
            self._lost.pop(name, None)
        self.tell(f"peer {name} is there")
        self._tasks.put(self._match)

    def lost(self, peer: str) -> None:
        """The link to a peer is lost, as the engine tells."""
        name = peer.rpartition(".")[0]
        with self._lock:
            if self._nodes.get(name) != peer:
                return
            del self._nodes[name]
            self._lost[name] = time.time()
            streams = [one for one in self._outgoing.values() if one.node == peer]
        self.tell(f"the link to peer {name} is lost")
        for stream in streams:
            stream.open_anew()

    def received(self, peer: str, head: bytes, body: bytes) -> None:
        """A message arrived, as the engine tells."""
        try:
            message = messages.decode(head, body)
        except MessageError as wrong:
            self._refused += 1
            if str(wrong) != self._wrong:
                self._wrong = str(wrong)
                self.tell(f"a message of {peer.rpartition('.')[0]!r} was dropped: {wrong}")
            return
        try:
            self._received(peer, message)
        except Exception as error:  # numbers that no sound peer sends
            self._refused += 1
            self.tell(f"a message was dropped: {type(error).__name__}: {error}")

    def _received(self, peer: str, message: messages.Message) -> None:
        if isinstance(message, Ack):
            stream = self._outgoing.get(message.stream)
            if stream is not None:
                stream.acknowledged(peer, message)
        elif isinstance(message, Text):
            if message.kind == messages.OPEN:
                self._tasks.put(lambda: self._open(peer, message))
            elif message.kind == messages.CLOSE:
                self._tasks.put(lambda: self._close_stream(peer, message))
            else:
                stream = self._outgoing.get(message.stream)
                if stream is not None:
                    stream.told(peer, message)
        else:
            receiver = self._incoming.get((peer, message.stream))
            if receiver is None or receiver.epoch != message.epoch:
                if receiver is None and isinstance(message, messages.Probe):
                    self._answer(peer, messages.UNKNOWN, message, {})
                return
            receiver.received(message)

    def _answer(self, peer: str, kind: int, message: messages.Head, facts: dict[str, Any]) -> None:
        head, body = messages.pack_text(kind, message.stream, message.epoch, facts)
        self.send(peer, head, body, wait=False)

    # ---- streams from peers, by the thread of the bridge -----------------------------------------

    def _open(self, peer: str, message: Text) -> None:
        try:
            facts = self._open_checked(peer, message)
        except (MemlaneError, OSError, ValueError, KeyError) as error:
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            told = {"text": str(text), "unwanted": isinstance(error, _NotAllowed)}
            self._answer(peer, messages.REFUSED, message, told)
        else:
            self._answer(peer, messages.OPENED, message, facts)

    def _open_checked(self, peer: str, message: Text) -> dict[str, Any]:
        asked = OpenRequest.checked(message.facts)
        if asked.kind not in KINDS or asked.kind not in _RECEIVERS:
            raise ValueError(f"this bridge carries no {asked.kind[:40]!r}")
        name = self.rules.here(asked.name)
        if not self.rules.admits(name):
            raise _NotAllowed(
                f"{name[:255]!r} is not allowed here; start the bridge of {self.name} with "
                f"--allow {name[:255]!r}"
            )
        self._refuse_both_ways(peer, asked.kind, name)
        key = (peer, message.stream)
        known = self._incoming.get(key)
        if known is not None and not known.goes_on(asked, name):
            self._forget(key)
            known = None
        committed = None
        if known is None:
            known = self._receiver(key, asked, name)
            known.open_again(peer, message.epoch, asked.first)
            self._incoming[key] = known
            self.tell(f"{asked.kind} {name!r} comes from {peer.rpartition('.')[0]}")
        elif known.opened.key.hex() in asked.path:
            self._forget(key)
            raise self._circle(name)
        else:
            known.path = asked.path
            known.open_again(peer, message.epoch, max(asked.first, known.committed))
            committed = known.committed
        self._tell_paths()
        return {
            "key": known.opened.key.hex(),
            "window": self.window,
            "committed": committed,
        }

    def _receiver(self, key: tuple[str, int], asked: OpenRequest, name: str) -> Receiver:
        """A receiver of a stream that was not there, with the object that it writes."""
        peer, number = key
        self._forget_others(peer, asked.source.hex(), name)
        if sum(1 for node, _ in self._incoming if node == peer) >= _STREAMS_MAX:
            raise ValueError("a peer has too many streams here")
        opened = open_or_make(asked.kind, name, asked.facts, self.largest)
        try:
            if opened.key.hex() in asked.path:
                raise self._circle(name)
            return _RECEIVERS[asked.kind](self, peer, number, opened, asked)
        except BaseException:
            opened.close()
            raise

    def _circle(self, name: str) -> ValueError:
        return ValueError(
            f"{name!r} would go in a circle: its records come from {self.name} itself"
        )

    def _refuse_both_ways(self, peer: str, kind: str, name: str) -> None:
        """An object that is carried to a peer cannot be carried from there, too."""
        sender = peer.rpartition(".")[0]
        for stream in list(self._outgoing.values()):
            if (
                stream.opened.kind == kind
                and stream.opened.name == name
                and (stream.peer == sender or stream.peer is None)
                and not stream.is_unwanted
            ):
                raise ValueError(
                    f"{kind} {name!r} is carried in both directions, by {self.name} and by "
                    f"{sender}; have one of them carry it"
                )

    def _forget_others(self, peer: str, source: str, name: str) -> None:
        """A peer that was started again opens anew what it had: its old streams end here."""
        sender = peer.rpartition(".")[0]
        for key, receiver in list(self._incoming.items()):
            if (
                receiver.source.hex() == source
                and receiver.opened.name == name
                and receiver.node.rpartition(".")[0] == sender
            ):
                self._forget(key)

    def _forget(self, key: tuple[str, int]) -> None:
        receiver = self._incoming.pop(key, None)
        if receiver is not None:
            receiver.close()

    def _close_stream(self, peer: str, message: Text) -> None:
        key = (peer, message.stream)
        receiver = self._incoming.get(key)
        if receiver is not None and receiver.epoch == message.epoch:
            self._forget(key)

    def _tell_paths(self) -> None:
        """What goes on from here has come from where it came from."""
        for stream in list(self._outgoing.values()):
            path = tuple(
                key
                for receiver in self._incoming.values()
                if receiver.opened.key == stream.opened.key
                for key in receiver.path
            )[:60]
            if path != stream.path:
                stream.path = path
                stream.open_anew()

    # ---- streams to peers ------------------------------------------------------------------------

    def _look_after(self) -> None:
        """The thread of the bridge: what is opened, and names that come and go."""
        due = 0.0
        while True:
            try:
                task = self._tasks.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                task = self._match
                due = time.monotonic() + _LOOK_S
                self._status.show(self.stats())
            if task is None:
                return
            try:
                task()
            except Exception as error:  # one object must not end the others
                self.tell(f"{type(error).__name__}: {error}")

    def _match(self) -> None:
        """Begin a stream for each object and peer that has none; end those whose object is gone."""
        if self.stopping.is_set():
            return
        for key, receiver in list(self._incoming.items()):
            if not receiver.opened.is_there():
                self.tell(f"{receiver.opened.kind} {receiver.opened.name!r} is another one by now")
                self._forget(key)
        for number, stream in list(self._outgoing.items()):
            if stream.state.startswith("ended") or not stream.opened.is_there():
                stream.end()
                stream.join(TRY_AGAIN_S)
                if not stream.state.startswith("ended"):
                    del self._outgoing[number]
        peers = list(self.nodes())
        for kind, name in self._names():
            if kind == "ring":
                self._begin(kind, name, None)
            else:
                for peer in peers:
                    self._begin(kind, name, peer)

    def _names(self) -> list[tuple[str, str]]:
        """The objects here that match what is to be carried."""
        found: list[tuple[str, str]] = []
        regions: list[str] | None = None
        for one in self.rules.carry:
            if not one.is_pattern:
                found.append((one.kind, one.pattern))
                continue
            if regions is None:
                regions = [it for it in Region.names() if not is_of_bridges(it)]
            for region in regions:
                if "/" not in one.pattern:
                    if one.matches(region):
                        found.append((one.kind, region))
                    continue
                try:
                    with Region.open(region) as there:
                        names = [f"{region}/{name}" for name in there]
                except (MemlaneError, OSError):
                    continue
                found += [(one.kind, name) for name in names if one.matches(name)]
        return [(kind, name) for kind, name in dict.fromkeys(found) if not self.rules.denies(name)]

    def _begin(self, kind: str, name: str, peer: str | None) -> None:
        for stream in self._outgoing.values():
            if (stream.opened.kind, stream.opened.name) == (kind, name) and (
                stream.peer == peer or kind == "ring"
            ):
                return
        try:
            opened = open_here(kind, name)
        except (MemlaneError, OSError, KeyError) as error:
            self._missing[kind, name] = str(error.args[0] if error.args else error)
            return
        self._missing.pop((kind, name), None)
        self._last_number += 1
        there = self.rules.there(name)
        made = _SENDERS[kind](self, self._last_number, opened, there, peer)
        self._outgoing[self._last_number] = made
        self._tell_paths()
        made.start()

    # ---- for users -------------------------------------------------------------------------------

    def wait_for_peer(self, timeout: float | None = None) -> bool:
        """Whether there is a peer, within the timeout. Never fails."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.nodes():
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def stats(self) -> dict[str, Any]:
        """
        What goes through, as plain dicts and lists: the peers, and for each object and peer the
        state, how many records went, are not acknowledged, were sent again, were doubled or
        dropped. Never fails.
        """
        with self._lock:
            peers = [
                *({"name": name, "link": "up"} for name in self._nodes),
                *({"name": name, "link": "lost", "since": at} for name, at in self._lost.items()),
            ]
        streams = [one.stats() for one in list(self._outgoing.values())]
        streams += [one.stats() for one in list(self._incoming.values())]
        return {
            "name": self.name,
            "pid": os.getpid(),
            **self._engine.stats(),
            "peers": peers,
            "streams": streams,
            "missing": [
                {"kind": kind, "name": name, "reason": reason}
                for (kind, name), reason in list(self._missing.items())
            ],
            "refused": self._refused,
            "told": [{"time": at, "text": text} for at, text in list(self._told)],
        }

    def close(self, linger: float = 5.0) -> None:
        """
        Take no more, wait up to *linger* seconds until the peers have committed what was taken, and
        end. What they have not goes to the next consumer. Never fails.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        streams = list(self._outgoing.values())
        for stream in streams:
            stream.end(lingers=True)
        end = time.monotonic() + linger
        for stream in streams:
            if isinstance(stream, RecordsOut):
                stream.wait_until_committed(max(0.0, end - time.monotonic()))
        self.stopping.set()
        self._tasks.put(None)
        self._thread.join()
        for stream in streams:
            stream.end()
            stream.join(10)
        for key in list(self._incoming):
            self._forget(key)
        self._engine.stop()
        self._status.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<memlane.bridge.Bridge {self.name!r}: {len(self.nodes())} peers>"


def _default_name(listen: list[str], connect: list[str], rules: Rules) -> str:
    """The same for a bridge that is started again as it was."""
    told = repr((listen, connect, rules.carry, rules.allow, sorted(rules.rename.items())))
    try:
        with open("/etc/machine-id") as file:
            told += file.read()
    except OSError:
        pass
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "host"
    return f"{host}-{hashlib.blake2b(told.encode(), digest_size=4).hexdigest()}"
