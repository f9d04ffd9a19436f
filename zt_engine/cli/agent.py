"""`zt agent`: this machine as a device: enroll it, report its posture, see what is missing, report it lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Annotated, get_args

import structlog
import typer

from device_inventory.agent.browser_proof_listener import PORT, BrowserProofs
from device_inventory.agent.collecting import ThisMachine
from device_inventory.agent.control_plane import ControlPlane
from device_inventory.agent.device import Device
from device_inventory.agent.enrolling import Enroller, refuse_enrolled
from device_inventory.agent.errors import AgentError, RefusedError
from device_inventory.agent.keys import KeyWish, Wanted
from device_inventory.agent.link import Ticket, read_ticket
from device_inventory.agent.loop import Loop
from device_inventory.agent.opening import connect, pin, which_server
from device_inventory.agent.state import Home, Item, State, default_home
from device_inventory.agent.tls import safe_url
from device_inventory.agent.unit import systemd_unit
from zt_engine import logs
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.cli.agent_proof import refusal_page
from zt_engine.cli.agent_report import Screen, as_zt_error, status_json
from zt_engine.cli.agent_terminal import Terminal, browse
from zt_engine.cli.output import Language, chosen_language, print_error

app = typer.Typer(no_args_is_help=True)

CLOCK = SystemClock()
MEMORY = "updates.json"
"""Where the collectors remember since when updates are waiting."""

_IN_ORDER = frozenset({"active", "enrolled"})

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The agent's folder. Default: ~/.local/state/zt-agent.")
]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]
DeviceCode = Annotated[bool, typer.Option("--device-code", help="Sign in with a browser on another machine.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address to sign in at.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.callback()
def group() -> None:
    """Enroll this machine and keep its posture known."""


@app.command()
def enroll(
    invitation: Annotated[
        str, typer.Argument(metavar="[CODE|LINK|-]", help="What you were sent; `-` reads it. Nothing: go on.")
    ] = "",
    server: Annotated[str, typer.Option(help="URL of the control plane; a link says it itself.")] = "",
    ca: Annotated[Path | None, typer.Option(help="CA certificates (PEM) the control plane is known by.")] = None,
    key: Annotated[str, typer.Option(help="Where the key is made: auto, tpm, pkcs11 or file.")] = "auto",
    pkcs11_module: Annotated[str, typer.Option("--pkcs11-module", help="Library of the token.")] = "",
    pkcs11_token: Annotated[str, typer.Option("--pkcs11-token", help="Label of the token.")] = "",
    pin_file: Annotated[str, typer.Option(help="File that holds the token's PIN, mode 0600.")] = "",
    tpm: Annotated[str, typer.Option(help="How tpm2-tss reaches the TPM, if it is not /dev/tpmrm0.")] = "",
    device_code: DeviceCode = False,
    no_browser: NoBrowser = False,
    again: Annotated[bool, typer.Option("--again", help="Forget the device enrolled here, and its key.")] = False,
    proxy: Annotated[str, typer.Option(help="URL of an HTTP proxy; none is taken from the environment.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the notice without being asked.")] = False,
    home: HomeOption = None,
    lang: Lang = None,
) -> None:
    """Enroll this machine as your device. Broken off, it is resumed by the same command, or without a code."""
    language = chosen_language(lang)
    wish = KeyWish(wanted=_wanted(key), module=pkcs11_module, token=pkcs11_token, pin_file=pin_file, tcti=tpm)
    with _errors(language):
        folder = _home(home)
        folder.prepare()
        text = sys.stdin.readline() if invitation == "-" else invitation
        ticket = read_ticket(text) if text.strip() else None
        if not again:
            refuse_enrolled(folder)
        url = which_server(folder, server, ticket, again=again)
        pin(folder, url, ca_file=ca, ca_sha256=ticket.ca_sha256 if ticket is not None else "", again=again)
        talk = Terminal(language, CLOCK, device_code=device_code, browser=not no_browser, yes=yes, proxy=proxy)
        talk.screen.say("where", url=url)
        wire, plane = connect(folder, url, CLOCK, language=language, proxy=proxy)
        with wire:
            enroller = Enroller(folder, plane, _machine(folder), CLOCK, talk, wish=wish, proxy=proxy)
            done = enroller.enroll(_code(ticket), again=again)
        talk.screen.enrolled(done.held.device_id, done.outcome, options=f" --home {quote(str(home))}" if home else "")


@app.command()
def report(
    full: Annotated[bool, typer.Option("--full", help="Say everything, not only what changed.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not find out which updates wait: that takes long.")
    ] = False,
    home: HomeOption = None,
    lang: Lang = None,
) -> None:
    """Look at this machine and tell the control plane now.

    Exit 0: nothing is missing. 1: something is. 2: it failed.
    """
    language = chosen_language(lang)
    with _errors(language):
        folder = _home(home)
        with _device(folder, language) as device, folder.locked():
            _renew(device)
            outcome = device.report(full=full, slow=not quick)
        Screen(language).reported(outcome)
    raise typer.Exit(1 if outcome.answer.items else 0)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the control plane.")] = False,
    home: HomeOption = None,
    lang: Lang = None,
) -> None:
    """Show what the device is good for now, what is missing for which label, and how to mend it.

    Exit 0: nothing is missing. 1: something is. 2: it failed.
    """
    language = chosen_language(lang)
    screen = Screen(language)
    with _errors(language):
        folder = _home(home)
        state = folder.load() if folder.path.is_dir() else None
        items: tuple[Item, ...] = ()
        standing, live, good_for = "", False, None
        if state is not None and state.held is not None:
            items, standing = state.reporting.items, state.reporting.status
            if not offline:
                try:
                    with _device(folder, language) as device:
                        answer = device.standing()
                except AgentError as error:
                    screen.offline(error)
                else:
                    standing, live, good_for = answer.status, True, answer.good_for
                    items = items if answer.items is None else answer.items
        now = CLOCK.now()
        if as_json:
            print(status_json(state, items, now=now, status=standing, live=live, good_for=good_for))
        else:
            screen.status(state, items, now=now, status=standing, good_for=good_for)
    raise typer.Exit(0 if _good(state, now) and standing in _IN_ORDER and not items else 1)


@app.command()
def run(
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
    proof_port: Annotated[
        int,
        typer.Option("--proof-port", min=0, max=65_527, help="First of 8 ports browsers are answered at; 0: none is."),
    ] = PORT,
    home: HomeOption = None,
    lang: Annotated[
        str | None, typer.Option("--lang", help="ja or en, for what keeps it from starting; the log is English.")
    ] = None,
) -> None:
    """Report every 12 to 15 minutes, sooner after a change, and renew the certificate in time, until SIGTERM.

    A browser of yours that comes from a site the control plane names is given what proves that it is on this device.
    """
    language = chosen_language(lang)
    logs.configure(verbose=verbose)
    log = structlog.get_logger("agent")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def tell(event: str, /, **facts: object) -> None:
        method = log.warning if event.endswith(("failed", "refused")) else log.info
        method(event, **facts)

    with _errors(language):
        folder = _home(home)
        proofs = BrowserProofs(folder, CLOCK, tell, page=refusal_page(language), port=proof_port)

        def heed(event: str, /, **facts: object) -> None:
            tell(event, **facts)
            if event == "agent.report_accepted":  # it may have named other hosts than before
                proofs.attend()

        with _device(folder, language) as device, contextlib.closing(proofs):
            tell("agent.started", home=str(folder.path))
            proofs.attend()
            Loop(
                device,
                locked=folder.locked,
                clock=CLOCK,
                lots=secrets.SystemRandom(),
                wait=stopped.wait,
                tell=heed,
            ).run()
    tell("agent.stopped")


@app.command()
def lost(
    other: Annotated[bool, typer.Option("--other", help="Another device of yours: sign in, and choose it.")] = False,
    device_id: Annotated[str, typer.Option("--device", help="The same, by its id.")] = "",
    server: Annotated[str, typer.Option(help="URL of the control plane, on a machine that is not enrolled.")] = "",
    ca: Annotated[Path | None, typer.Option(help="CA certificates (PEM) the control plane is known by.")] = None,
    device_code: DeviceCode = False,
    no_browser: NoBrowser = False,
    yes: Yes = False,
    home: HomeOption = None,
    lang: Lang = None,
) -> None:
    """Report this device lost, or another one that you hold. It needs nobody's approval."""
    language = chosen_language(lang)
    talk = Terminal(language, CLOCK, device_code=device_code, browser=not no_browser, yes=yes, proxy="")
    with _errors(language):
        folder = _home(home)
        folder.prepare()
        if other or device_id:
            url = which_server(folder, server, None)
            pin(folder, url, ca_file=ca, ca_sha256="")
            wire, plane = connect(folder, url, CLOCK, language=language)
            with wire:
                talk.step("sign_in")
                signed_in = talk.sign_in(plane.terms())
                chosen = device_id or talk.choose(plane.mine(signed_in))
                talk.sure(chosen)
                plane.lost_by_owner(signed_in, chosen)
        else:
            held = _enrolled(folder).held
            assert held is not None
            talk.sure(held.device_id)
            with _device(folder, language) as device:
                device.lost()
        talk.screen.say("lost")


@app.command("open")
def open_portal(no_browser: NoBrowser = False, home: HomeOption = None, lang: Lang = None) -> None:
    """Open the portal of the control plane in a browser."""
    language = chosen_language(lang)
    with _errors(language):
        state = _enrolled(_home(home))
        url = state.portal or state.url
        if not safe_url(url):
            raise AgentError("AGENT_PORTAL", "it is neither https nor on loopback", where=state.url)
        Screen(language).visit(url)
        if not no_browser:
            browse(url)


@app.command()
def trust(
    ca: Annotated[Path, typer.Argument(help="CA certificates (PEM) the control plane is known by from now on.")],
    home: HomeOption = None,
    lang: Lang = None,
) -> None:
    """Replace the CA the control plane is known by, before it gets another one: a file with the old and the new."""
    language = chosen_language(lang)
    with _errors(language):
        folder = _home(home)
        pin(folder, _enrolled(folder).url, ca_file=ca, ca_sha256="")
        Screen(language).say("trusted")


@app.command()
def unit(home: HomeOption = None) -> None:
    """Print a systemd unit that keeps the agent running in your session."""
    command = [*_this_program(), "agent", "run"]
    if home is not None:
        command += ["--home", str(home.absolute())]
    print(systemd_unit(command), end="")


@contextlib.contextmanager
def _errors(language: Language) -> Iterator[None]:
    """An error of the agent is printed as everywhere; the exit status is 2."""
    try:
        yield
    except AgentError as error:
        print_error(as_zt_error(error), language)
        raise typer.Exit(2) from None


@contextlib.contextmanager
def _device(folder: Home, language: Language) -> Iterator[Device]:
    state = _enrolled(folder)
    wire, plane = connect(folder, state.url, CLOCK, language=language, proxy=state.proxy)
    with wire:
        yield _working(folder, plane)


def _good(state: State | None, now: float) -> bool:
    """Whether the device is enrolled, has reported, and its certificate is not over."""
    return state is not None and state.held is not None and state.held.not_after > now and state.reporting.at > 0


def _renew(device: Device) -> None:
    """Renew in time. A refusal is left to the report, which says what is wrong; the old certificate may still do."""
    if device.renewal_due():
        with contextlib.suppress(RefusedError):
            device.renew()


def _working(folder: Home, plane: ControlPlane) -> Device:
    return Device(folder, plane, _machine(folder), CLOCK)


def _machine(folder: Home) -> ThisMachine:
    return ThisMachine(memory=folder.path / MEMORY)


def _enrolled(folder: Home) -> State:
    folder.prepare()
    state = folder.load()
    if state is None or state.held is None:
        raise AgentError("AGENT_NOT_ENROLLED", "no device is enrolled here", where=str(folder.path))
    return state


def _home(option: Path | None) -> Home:
    return Home(option.absolute() if option is not None else default_home(os.environ, Path.home()))


def _code(ticket: Ticket | None) -> str:
    return ticket.code if ticket is not None else ""


def _wanted(text: str) -> Wanted:
    for wanted in get_args(Wanted):
        if text == wanted:
            return wanted  # type: ignore[no-any-return]
    raise typer.BadParameter(f"`{text}` is none of auto, tpm, pkcs11, file", param_hint="--key")


def _this_program() -> list[str]:
    own = Path(sys.argv[0])
    if own.name == "zt" and own.is_file():
        return [str(own.absolute())]
    found = shutil.which("zt")
    return [found] if found else [sys.executable, "-c", "from zt_engine.cli import main; main()"]
