"""`zt demo`: a real nginx, a real backend and the real sidecar, and a day of requests that tells what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from device_inventory.agent.errors import AgentError
from zt_engine.bootstrap.demo import Demo, Result
from zt_engine.bootstrap.demo_stay import prepare_to_stay, write_question
from zt_engine.bootstrap.demo_story import calm_step, restoring_step, story
from zt_engine.bootstrap.demo_world import PACK, can_build
from zt_engine.cli.agent_report import as_zt_error
from zt_engine.cli.demo_report import DemoReport
from zt_engine.cli.output import Language, chosen_language, print_error
from zt_engine.core.errors import ZtError

if TYPE_CHECKING:  # needs more than the base install
    from zt_engine.bootstrap.demo_office import Shown

REPEATED = 500
WIDE = 160
"""Columns when the output is no terminal: a log is read without wrapping."""


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C; prints curl lines.")] = False,
    lang: Annotated[str | None, typer.Option(help="ja or en; default: the environment's.")] = None,
    pack: Annotated[str, typer.Option(help="The policy pack; the story is written for jp-gov.")] = PACK,
    nginx: Annotated[
        Path | None, typer.Option(help="The nginx to run; default: the one of this Python environment, then PATH.")
    ] = None,
    opa: Annotated[
        str | None, typer.Option("--opa", envvar="OPA", help="The program opa, for one change; default: on PATH.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="An empty or new folder for its files; default: a temporary one.")
    ] = None,
) -> None:
    """Protect a backend behind a real nginx, send over 30 requests, and check every answer three times.

    Needs no root; without the program opa one change is left out. Listens on free loopback ports only. Exit 0: every
    expectation held. 1: one did not. 2: it could not be run.
    """
    language = chosen_language(lang)
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    report = DemoReport(console, language)
    signal.signal(signal.SIGTERM, _leave)
    place = folder or Path(tempfile.mkdtemp(prefix="zt-demo-"))
    started = time.monotonic()
    try:
        report.begin()
        with Demo(place, language=language, pack=pack, nginx=nginx, opa=opa) as running:
            report.ready(time.monotonic() - started)
            results = _tell(running, report, rego=can_build(opa))
            shown = _enroll_this_machine(running, report, language)
            failed = sum(bool(result.faults) for result in results) + sum(bool(one.faults) for one in shown)
            held = not failed
            if not keep:
                running.stop_sidecar()
            held &= report.audit(running.verify_log(), whole=not keep)
            report.summary(len(results) + len(shown), failed, held=held, seconds=time.monotonic() - started)
            if keep:
                running.run(restoring_step())
                prepare_to_stay(running.world)
                report.stay(running)
                _wait_for_interrupt()
                report.leave(place)
            else:
                write_question(running.world)
                report.go_on(place)
    except ZtError as error:
        with contextlib.suppress(OSError):
            place.rmdir()  # only if nothing was written yet
        print_error(error, language)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if held else 1)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Leave by the ordinary way, so that no process stays behind."""
    raise SystemExit(128 + number)


def _tell(running: Demo, report: DemoReport, *, rego: bool) -> list[Result]:
    results = []
    for step in story(rego=rego):
        result = running.run(step)
        report.step(result, running.codes)
        results.append(result)
    if not rego:
        report.no_opa()
    report.speed(REPEATED, *running.repeat(calm_step(), REPEATED))
    return results


def _enroll_this_machine(running: Demo, report: DemoReport, language: Language) -> Sequence[Shown]:
    """Tell the last chapter, which needs more than the base install; return its requests."""
    try:
        from zt_engine.bootstrap.demo_office import Office  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("zt_engine", "device_inventory")):
            raise
        report.no_office()
        return ()
    report.office()
    with Office(running.world, running.backend, running.nginx, language=language) as office:
        try:
            report.posture(office.enroll())
        except AgentError as error:
            raise as_zt_error(error) from None
        found = []
        for shown in office.ask():
            report.shown(shown, office.codes)
            found.append(shown)
        return found


def _wait_for_interrupt() -> None:
    """Wait for Ctrl-C or SIGTERM; both end the demo in good order."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with contextlib.suppress(KeyboardInterrupt):
        stopped.wait()
