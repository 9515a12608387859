# SPDX-License-Identifier: MIT
"""The demo's progress on stderr: a bar on a terminal where rich is installed, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Takes files and bytes indexed so far.
Show = Callable[[int, int], None]
PLAIN_LINES_PAUSE_S = 1.0


@contextmanager
def shown(files: int) -> Iterator[Show]:
    """Give a function that shows how many of *files* are done."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        yield plain_lines(files)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines(files)
        return
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files, {task.fields[megabytes]:.1f} MB"),
    )
    # Refreshed by the caller that has news, without a thread.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("", total=files, megabytes=0.0)
        yield lambda done, nbytes: progress.update(
            bar, completed=done, megabytes=nbytes / 1e6, refresh=True
        )


def plain_lines(files: int) -> Show:
    """Show by printing a line now and then, and at the end."""
    due = 0.0

    def show(done: int, nbytes: int) -> None:
        nonlocal due
        if time.monotonic() >= due or done == files:
            line = f"indexed {done:,} of {files:,} files, {nbytes / 1e6:.1f} MB"
            print(line, file=sys.stderr, flush=True)
            due = time.monotonic() + PLAIN_LINES_PAUSE_S

    return show
