#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A web server of four worker processes, which share a counter, a ring of jobs and a table of results.

    python examples/web_workers.py --port 8000

    GET  /            which worker answers, and how many requests all of them have had
    POST /jobs/7      have one of the workers square 7: none of them waits for it
    GET  /jobs/7      the square, once it is there

A job is on loan to the worker that does it: where that one is killed, another one does it again.
The result is put into a place of its own, so twice is as good as once. Needs uvicorn and starlette.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import memlane

WORKERS, NUMBERS = 4, 1000
REGION = "MEMLANE_WEB_WORKERS"  # in the environment of the workers: the name of what they share


class Shared:
    """What the workers share, as one of them sees it."""

    def __init__(self, region: memlane.Region) -> None:
        self.hits = region.counter("hits")
        self.jobs = memlane.aio.wrap(region.ring("jobs"))
        self.squares = memlane.aio.wrap(region.table("squares"))

    async def work(self) -> None:
        """Square numbers, one after the other."""
        async for job in self.jobs.borrowed():
            number = int(bytes(job))
            await asyncio.sleep(0.001)  # hard work
            await self.squares[number].publish(number**2)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    with memlane.Region.open(os.environ[REGION]) as region:
        app.state.shared = Shared(region)
        working = asyncio.create_task(app.state.shared.work())
        yield
        working.cancel()


async def hit(request: Request) -> Response:
    return JSONResponse({"worker": os.getpid(), "hits": request.app.state.shared.hits.add(1)})


async def post(request: Request) -> Response:
    number = request.path_params["number"]
    if number >= NUMBERS:
        return Response(status_code=404)
    await request.app.state.shared.jobs.put(b"%d" % number)
    return Response(status_code=202)


async def result(request: Request) -> Response:
    number = request.path_params["number"]
    if number >= NUMBERS:
        return Response(status_code=404)
    try:
        found, _ = await request.app.state.shared.squares[number].wait_newer(0, timeout=30)
    except TimeoutError:
        return Response(status_code=404)
    return JSONResponse({"square": found[0]})


app = Starlette(
    routes=[
        Route("/", hit),
        Route("/jobs/{number:int}", post, methods=["POST"]),
        Route("/jobs/{number:int}", result, methods=["GET"]),
    ],
    lifespan=lifespan,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="a web server whose workers share memory")
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    name = f"web-workers-{os.getpid()}"
    with memlane.Region.create(name, "8 MiB") as region:
        try:
            os.environ[REGION] = name
            region.counter("hits")
            region.ring("jobs", capacity="64 KiB", producers=2 * WORKERS, consumers="many")
            region.table("squares", NUMBERS, "Q", writers="many", watchers=2 * WORKERS)
            program = f"{Path(__file__).stem}:app"
            uvicorn.run(program, port=asked.port, workers=WORKERS, log_level="warning")
        finally:
            region.unlink()


if __name__ == "__main__":
    main()
