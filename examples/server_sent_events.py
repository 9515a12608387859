#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Server-sent events to the clients of four web workers: an event that is posted to any worker reaches
the clients of all of them. A client that comes back goes on behind the last event that it got, by
its Last-Event-ID, whichever worker answers.

    python examples/server_sent_events.py                  three clients that lose their connection
    python examples/server_sent_events.py --port 8000      serve until Ctrl-C
        curl -N http://127.0.0.1:8000/
        curl -d 'some text' http://127.0.0.1:8000/
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from memlane import Empty, Lapped, ShutDown, Topic

WORKERS = 4
#: A client that is gone is noticed at the next write.
HEARTBEAT_S = 15


class Handler(BaseHTTPRequestHandler):
    """One request; each has a thread of its worker, and each GET a subscription of its own."""

    topic: Topic

    def do_POST(self) -> None:
        """Publish the body, by the one publisher of this worker."""
        self.topic.publish(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        """Stream events until the client is gone, or the topic is shut down."""
        start = self.headers.get("Last-Event-ID", "now")
        try:
            events = self.topic.subscribe(start)
        except Lapped as gap:
            events = self.topic.subscribe("oldest")
            self.begin(f"event: gap\ndata: {gap.lost}\n")
        except ValueError as wrong:
            self.send_error(400, "Last-Event-ID is no position", str(wrong))
            return
        else:
            self.begin("")
        with events, contextlib.suppress(ConnectionError, ShutDown):
            # A client that gets nothing before it loses its connection comes back to here.
            self.write(f"id: {events.position}\n\n")
            told = 0
            while True:
                try:
                    event = events.get(timeout=HEARTBEAT_S)
                except Empty:
                    self.write(": still here\n\n")
                    continue
                if events.lost > told:  # nobody waits for a slow client, but it is told
                    self.write(f"event: gap\ndata: {events.lost - told}\n\n")
                    told = events.lost
                lines = event.decode(errors="replace").splitlines() or [""]
                data = "".join(f"data: {line}\n" for line in lines)
                self.write(f"{data}id: {events.position}\n\n")

    def begin(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.write(text)

    def write(self, text: str) -> None:
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the example has something else to say."""


class Server(ThreadingHTTPServer):
    """Accepts at a socket that its parent listens at, and its brothers, too."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, topic: Topic) -> None:
        handler = type("TopicHandler", (Handler,), {"topic": topic})
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def work(listener: socket.socket, topic: Topic) -> None:
    """A web worker."""
    with contextlib.suppress(KeyboardInterrupt):
        Server(listener, topic).serve_forever()


def events_of(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Position and data of each event; what only tells a position has no data."""
    position = data = ""
    for line in response:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "id":
            position = value
        elif field == "data":
            data = value
        elif not field and position:
            yield position, data
            position = data = ""


def listen(port: int, count: int, ready: threading.Barrier, said: list[str]) -> None:
    """A client that has *count* connections, one after the other, until the events end."""
    got: list[str] = []
    headers: dict[str, str] = {}
    for connections in range(1, count + 1):
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("GET", "/", headers=headers)
        for position, data in events_of(client.getresponse()):
            headers["Last-Event-ID"] = position
            if data:
                got.append(data)
            elif connections == 1:
                ready.wait()
            if len(got) == 30 * connections < 30 * count:
                break  # as if the network had failed
        client.close()
    in_order = got == [f"event {number}" for number in range(len(got))]
    said.append(f"{count} connections: {len(got)} events{', in order' if in_order else ''}")


def post(port: int, text: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("POST", "/", text)
    assert client.getresponse().status == 204
    client.close()


def show(port: int, topic: Topic) -> None:
    """Three clients hear of a hundred events, however often they lose their connection."""
    said: list[str] = []
    ready = threading.Barrier(4)
    clients = [
        threading.Thread(target=listen, args=(port, count, ready, said)) for count in (1, 2, 3)
    ]
    for client in clients:
        client.start()
    ready.wait()
    for number in range(100):
        post(port, f"event {number}")
    topic.shutdown()  # streams end behind the last event
    for client in clients:
        client.join()
    print(*sorted(said), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Server-sent events from four web workers.")
    parser.add_argument("--port", type=int, help="serve there until Ctrl-C; 0: any that is free")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with (
        # The order of all: clients see the events as they were posted, to whichever worker.
        Topic("1 MiB", publishers=WORKERS, subscribers=512, order="all") as topic,
        socket.create_server(("127.0.0.1", arguments.port or 0), backlog=128) as listener,
    ):
        listener.setblocking(False)  # all workers see a client that comes, and one accepts it
        port = listener.getsockname()[1]
        workers = [context.Process(target=work, args=(listener, topic)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        if arguments.port is None:
            show(port, topic)
            for worker in workers:
                worker.terminate()
        else:
            print(f"serving at http://127.0.0.1:{port}/", flush=True)
        for worker in workers:
            with contextlib.suppress(KeyboardInterrupt):
                worker.join()


if __name__ == "__main__":
    main()
