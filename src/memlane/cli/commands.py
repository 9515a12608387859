# SPDX-License-Identifier: MIT
"""What each command calls; what only one command needs is loaded for that one."""

from __future__ import annotations

import argparse


def demo(arguments: argparse.Namespace) -> int:
    from memlane.cli.demo import demo

    return demo(
        arguments.paths, workers=arguments.workers, kill=arguments.kill, as_json=arguments.json
    )


def ls(arguments: argparse.Namespace) -> int:
    from memlane.cli.listing import ls

    return ls(arguments.names, arguments.all, arguments.tree, arguments.json)


def stat(arguments: argparse.Namespace) -> int:
    from memlane.cli.stat import stat

    return stat(arguments.name, arguments.every, arguments.json)


def top(arguments: argparse.Namespace) -> int:
    from memlane.cli import top

    if arguments.web:
        from memlane.cli.web import web

        return web(arguments.name, arguments.every, arguments.host, arguments.port)
    return top.top(arguments.name, arguments.every, arguments.once, arguments.json, arguments.sort)


def metrics(arguments: argparse.Namespace) -> int:
    from memlane.cli.metrics import metrics

    return metrics(arguments.name, arguments.listen, arguments.json)


def tail(arguments: argparse.Namespace) -> int:
    from memlane.cli import tail

    show: tail.Show | None = None
    if arguments.hex:
        show = tail.as_hex
    elif arguments.struct is not None:
        show = tail.as_struct(arguments.struct)
    elif arguments.dtype is not None:
        show = tail.as_dtype(arguments.dtype)
    elif arguments.pickle_repr:
        show = tail.as_pickle
    return tail.tail(arguments.name, arguments.most, arguments.follow, show, arguments.json)


def who(arguments: argparse.Namespace) -> int:
    from memlane.cli.who import who

    return who(arguments.name, arguments.json)


def put(arguments: argparse.Namespace) -> int:
    from memlane.cli.transfer import put

    return put(
        arguments.name, arguments.record, arguments.lines, arguments.chomp, arguments.timeout
    )


def get(arguments: argparse.Namespace) -> int:
    from memlane.cli.transfer import get

    count = None if arguments.follow or arguments.drain else arguments.count
    end = b"\0" if arguments.null else b"" if arguments.raw else b"\n"
    return get(arguments.name, count, end, arguments.drain, arguments.timeout)


def pipe(arguments: argparse.Namespace) -> int:
    from memlane.cli.transfer import pipe

    end = b"\0" if arguments.null else b"" if arguments.raw else b"\n"
    return pipe(arguments.name, arguments.program, end, arguments.put)


def record(arguments: argparse.Namespace) -> int:
    from memlane.cli.recorder import record

    return record(
        arguments.names,
        arguments.file,
        arguments.oldest,
        arguments.hold,
        arguments.seconds,
        arguments.count,
    )


def replay(arguments: argparse.Namespace) -> int:
    from memlane.cli.recorder import replay

    return replay(arguments.file, arguments.rate, arguments.to, arguments.timeout)


def bridge(arguments: argparse.Namespace) -> int:
    from memlane.cli.bridging import run, status

    if arguments.status:
        return status(arguments.json)
    lists = {it: getattr(arguments, it) for it in ("listen", "connect", "carry", "allow", "deny")}
    return run(
        arguments.config,
        lists,
        arguments.rename,
        arguments.name,
        arguments.window,
        arguments.largest,
        arguments.json,
    )


def doctor(arguments: argparse.Namespace) -> int:
    from memlane.cli.doctor import doctor

    return doctor(arguments.fix, arguments.json)


def completion(arguments: argparse.Namespace) -> int:
    from memlane.cli.completion import completion

    return completion(arguments.shell, arguments.parsers)


def rm(arguments: argparse.Namespace) -> int:
    from memlane.cli.removing import rm

    return rm(arguments.name, arguments.json)


def sweep(arguments: argparse.Namespace) -> int:
    from memlane.cli.removing import sweep_up

    return sweep_up(arguments.names, arguments.dry_run, arguments.json)
