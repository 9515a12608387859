#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A web server of four worker processes with what is otherwise kept in Redis: counters, a rate limit,
a cache whose entries expire, and the metrics of all workers.

    python examples/web_state.py --port 8000 --server uvicorn      # or gunicorn

    GET  /              how many requests all workers have had
    GET  /limited/anna  allowed five times a minute for each name, whichever worker answers
    GET  /cached/7      what one worker has worked out, for all of them, for some seconds
    GET  /metrics       for Prometheus, of all workers, from any of them

Workers may be killed at any time: what they have counted counts. Needs starlette, uvicorn or
gunicorn, and prometheus_client.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import prometheus_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import memlane
import memlane.prometheus  # in a worker MEMLANE_PROMETHEUS is set, and names the region

WORKERS, EXPIRES_S = 4, 60.0
REGION = "MEMLANE_WEB_STATE"  # in the environment of the workers: the name of what they share

requests_total = prometheus_client.Counter("requests", "Requests that were answered.", ["path"])
busy = prometheus_client.Gauge("workers", "Workers.", multiprocess_mode="livesum")


class Shared:
    """What the workers share, as one of them sees it."""

    def __init__(self, region: memlane.Region) -> None:
        self.hits = region.counter("hits")
        self.cache = region.map("cache", entries=1000, value=64)
        table = region.map("limits", entries=10_000, value=memlane.RateLimiter.LAYOUT)
        self.limiter = memlane.RateLimiter(5, per=60.0, map=table)
        self.registry = prometheus_client.CollectorRegistry()
        memlane.prometheus.MultiProcessCollector(self.registry)
        self.registry.register(memlane.metrics.collector(region))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    with memlane.Region.open(os.environ[REGION]) as region:
        app.state.shared = Shared(region)
        busy.set(1)
        yield


async def hit(request: Request) -> Response:
    requests_total.labels("/").inc()
    return JSONResponse({"worker": os.getpid(), "hits": request.app.state.shared.hits.add(1)})


async def limited(request: Request) -> Response:
    decision = request.app.state.shared.limiter.hit(request.path_params["name"])
    requests_total.labels("/limited").inc()
    if not decision:
        seconds = str(int(decision.retry_after) + 1)
        return Response(status_code=429, headers={"Retry-After": seconds})
    return JSONResponse({"worker": os.getpid(), "remaining": decision.remaining})


async def cached(request: Request) -> Response:
    number = request.path_params["number"]
    cache = request.app.state.shared.cache
    requests_total.labels("/cached").inc()
    found = cache.get(number)
    if found is None:
        made = b"%d by %d" % (number**2, os.getpid())  # hard work
        found = cache.setdefault(number, made, expires=EXPIRES_S)
    return JSONResponse({"worker": os.getpid(), "found": found.decode()})


async def metrics(request: Request) -> Response:
    said = prometheus_client.generate_latest(request.app.state.shared.registry)
    return Response(said, media_type=prometheus_client.CONTENT_TYPE_LATEST)


app = Starlette(
    routes=[
        Route("/", hit),
        Route("/limited/{name}", limited),
        Route("/cached/{number:int}", cached),
        Route("/metrics", metrics),
    ],
    lifespan=lifespan,
)


def serve(server: str, port: int) -> None:
    """Serve until Ctrl-C."""
    program = f"{Path(__file__).stem}:app"
    here = str(Path(__file__).parent)
    if server == "uvicorn":
        command = ["uvicorn", program, "--app-dir", here, "--log-level", "warning"]
        command += ["--port", str(port), "--workers", str(WORKERS)]
    else:
        command = ["gunicorn", program, "--chdir", here, "--log-level", "warning"]
        command += ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
        command += ["--worker-class", "asgi"]
    running = subprocess.Popen([sys.executable, "-m", *command])
    try:
        running.wait()
    except KeyboardInterrupt:
        running.terminate()
        running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="a web server whose workers share their state")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--server", choices=["uvicorn", "gunicorn"], default="uvicorn")
    asked = parser.parse_args()
    name = f"web-state-{os.getpid()}"
    metrics_name = f"{name}-metrics"
    with memlane.Region.create(name, "16 MiB") as region:
        try:
            os.environ |= {REGION: name, memlane.prometheus.VARIABLE: metrics_name}
            serve(asked.server, asked.port)
        finally:
            region.unlink()
            memlane.sweep([metrics_name])


if __name__ == "__main__":
    main()
