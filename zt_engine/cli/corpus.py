"""`zt corpus`: send what attackers send through a proxy, and see what its backend executes."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from zt_engine.bootstrap.corpus_witness import LoggedDecisions
from zt_engine.cli.output import Language, chosen_language
from zt_engine.config import load
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError
from zt_engine.corpus.backend import Backend, fetch_records
from zt_engine.corpus.execution import IDENTITY_HEADER, Execution, Witness
from zt_engine.corpus.matrix import document, matrix
from zt_engine.corpus.probe import CLASSES, Probe, packaged
from zt_engine.corpus.runner import Place, Report
from zt_engine.corpus.runner import run as send_all
from zt_engine.corpus.target import read_address, read_target, with_certificate
from zt_engine.corpus.verdict import Outcome, Scope

app = typer.Typer(no_args_is_help=True)

TEXTS = {
    "listens": (
        "検査用バックエンドが {address} で待ち受けています（{stacks}）。検査専用です。",
        "The witness backend listens on {address} ({stacks}). It is for tests alone.",
    ),
    "lacking": ("この環境にないもの: {names}", "Not on this machine: {names}"),
    "good": ("{count}件を判定し、すり抜けはありませんでした。", "Judged: {count} probes. Nothing got past."),
    "bad": ("{count}件がすり抜けました。", "Got past: {count} probes."),
    "unserved": (
        "通るはずの要求が{count}件拒否されました。設定を確認してください。結果の信頼性は低くなります。",
        "Refused although ordinary: {count} probes. Check what was given; the run proves little.",
    ),
    "unjudged": ("判定できなかったもの:", "Could not be judged:"),
    "probes": ("{why}（{count}件）", "{why} ({count})"),
    "no_log": (
        "許可の記録との照合（--config がないため、送った内容と実行された内容だけを比べました）",
        "whether an allow exists for each request: without --config what was sent is compared with what was executed",
    ),
    "class": ("区分{number}: {title}", "class {number}: {title}"),
}

Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]
Shape = Annotated[Literal["text", "json"], typer.Option("--format", help="For people, or for programs.")]
Classes = Annotated[list[int] | None, typer.Option("--class", help="Only these classes; may be repeated.")]
Identity = Annotated[str, typer.Option(help="The header by which the backend knows who asks.")]


@app.callback()
def group() -> None:
    """Send what attackers send through a proxy, and see what its backend executes."""


@app.command("list")
def list_probes(classes: Classes = None, shape: Shape = "text", lang: Lang = None) -> None:
    """List the probes: class, advisory, and what goes wrong where one of them is not refused."""
    language = chosen_language(lang)
    probes = _chosen(classes)
    if shape == "json":
        shown = [{"id": p.id, "class": p.number, "advisory": p.advisory, "note": p.note} for p in probes]
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for number, title in CLASSES.items():
        found = [probe for probe in probes if probe.number == number]
        if found:
            print(_text("class", language).format(number=number, title=title))
        for probe in found:
            print(f"  {probe.id:32} {probe.advisory:22} {probe.note}")


@app.command()
def show(probe: Annotated[str, typer.Argument(metavar="ID", help="The id of a probe.")]) -> None:
    """Show what a probe sends, with its placeholders and escapes, and what must hold."""
    found = [one for one in packaged() if one.id == probe]
    if not found:
        raise _wrong(f"there is no probe `{probe}`", "ID", "`zt corpus list` has their ids")
    print(f"# class {found[0].number}, {found[0].advisory}\n# {found[0].note}")
    for step in found[0].steps:
        print(step.send.rstrip("\n"))
        print(f"=> {step.expect} {step.executes}".rstrip() + "\n")


@app.command()
def backend(
    listen: Annotated[str, typer.Option(help="HOST:PORT; the proxy forwards to it, the runner asks it.")],
    identity: Identity = IDENTITY_HEADER,
    lang: Lang = None,
) -> None:
    """Run the backend that bears witness, until it is interrupted: put it behind the proxy instead of the application.

    Every request goes to a WSGI, a Node and a PHP program, with the bytes that the proxy wrote.
    """
    language = chosen_language(lang)
    host, port = read_address(listen, "--listen")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with _open(host, port, identity) as running:
        stacks = ", ".join(stack.name for stack in running.stacks)
        print(_text("listens", language).format(address=running.address, stacks=stacks), flush=True)
        if running.lacking:
            print(_text("lacking", language).format(names=", ".join(running.lacking)), flush=True)
        stopped.wait()


@app.command()
def run(
    target: Annotated[str, typer.Option(help="The proxy: http://HOST:PORT or https://HOST.")],
    witness: Annotated[str, typer.Option(help="HOST:PORT of `zt corpus backend`, past the proxy.")],
    protected: Annotated[str, typer.Option(help="A path below which nobody may read without signing in.")],
    public: Annotated[str, typer.Option(help="A path below which everybody may read.")],
    host: Annotated[str | None, typer.Option(help="The host of the site; default: that of the target.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="CORPUS_TOKEN", help="An access token of somebody who may read below --protected."),
    ] = None,
    header: Annotated[
        str | None,
        typer.Option(envvar="CORPUS_HEADER", help="A whole header instead, such as `Cookie: session=...`."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="What the backend is told about whom the token belongs to.")] = None,
    identity: Identity = IDENTITY_HEADER,
    hook: Annotated[str | None, typer.Option(help="HOST:PORT at which the proxy asks.")] = None,
    admin: Annotated[str | None, typer.Option(help="HOST:PORT of the decision service's administration.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A further placeholder; may be repeated.")
    ] = None,
    change: Annotated[
        str | None, typer.Option(help="A command that puts the change of class 12 in force; it returns afterwards.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A zt.toml: every request is looked up in its decision log.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Whom to trust for TLS (PEM); default: the system's.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The client's certificate with its key (PEM), for probes over mutual TLS.")
    ] = None,
    other_certificate: Annotated[
        Path | None, typer.Option(help="Another person's, of the same authority (PEM, with its key).")
    ] = None,
    may_lose_identity: Annotated[
        bool, typer.Option("--may-lose-identity", help="The backend refuses requests without identity headers.")
    ] = False,
    classes: Classes = None,
    shape: Shape = "text",
    lang: Lang = None,
) -> None:
    """Send every probe and judge what was executed. Only against what you may test: it sends what attackers send.

    Exit 0: nothing got past. 1: something did. 2: nothing could be judged, or ordinary requests were refused.
    """
    language = chosen_language(lang)
    front, name = read_target(target, ca)
    values = {"public": public.rstrip("/"), "protected": protected.rstrip("/"), "host": host or name}
    values |= {"other_host": "other.example", "identity": identity}
    credential = header or (f"Authorization: Bearer {token}" if token else None)
    values |= {
        key: value for key, value in (("token", token), ("auth", credential), ("user", user)) if value is not None
    }
    values |= dict(_pair(text) for text in more or ())
    addresses = {"front": front}
    for kind, address in (("hook", hook), ("admin", admin)):
        if address is not None:
            addresses[kind] = read_target(f"http://{address}", None)[0]
    for kind, pem in (("device", certificate), ("neighbour", other_certificate)):
        if pem is not None:
            addresses[kind] = with_certificate(front, pem, ca)
    guarded = (values["protected"], *(values[key] for key in PROTECTED if key in values))
    place = Place(
        addresses=addresses,
        values=values,
        scope=Scope(protected=guarded, public=values["public"]),
        may_lose_identity=may_lose_identity,
    )
    reports = send_all(
        _chosen(classes),
        place,
        records=_records(read_address(witness, "--witness")),
        witness=_decisions(config) if config is not None else None,
        change=None if change is None else lambda: _carry_out(change),
    )
    if shape == "json":
        print(json.dumps(document(reports), indent=2, ensure_ascii=False))
    else:
        print(matrix({name: reports}))
        _sum_up(reports, language, logged=config is not None)
    raise typer.Exit(_status(reports))


PROTECTED = ("device_only", "closing", "raising", "opening")
"""Placeholders of further protected paths."""


def _text(name: str, language: Language) -> str:
    return TEXTS[name][language == "en"]


def _chosen(classes: list[int] | None) -> tuple[Probe, ...]:
    unknown = set(classes or ()) - CLASSES.keys()
    if unknown:
        raise _wrong(f"there is no class {min(unknown)}", "--class", f"1 to {max(CLASSES)}")
    return tuple(probe for probe in packaged() if not classes or probe.number in classes)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _wrong(f"`{text}` is not NAME=VALUE", "--set", "for example closing=/closing")
    return name, value


def _open(host: str, port: int, identity: str) -> Backend:
    try:
        return Backend(host, port, identity=[identity])
    except OSError as error:
        raise UnavailableError("CORPUS_STACK", str(error), where=f"{host}:{port}") from None


def _records(address: tuple[str, int]) -> Callable[[], list[Execution]]:
    def records() -> list[Execution]:
        try:
            return list(fetch_records(address))
        except (OSError, ValueError) as error:
            where = f"{address[0]}:{address[1]}"
            raise UnavailableError("CORPUS_WITNESS", str(error), where=where) from None

    return records


def _decisions(config: Path) -> Callable[[], Witness]:
    settings = load(config)
    return lambda: LoggedDecisions(settings)


def _carry_out(command: str) -> None:
    try:
        subprocess.run(shlex.split(command), check=True)  # noqa: S603  # the operator's own command
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise InputError("CORPUS_TARGET", f"the command of the change failed: {error}", where="--change") from None


def _sum_up(reports: tuple[Report, ...], language: Language, *, logged: bool) -> None:
    counts = Counter(report.outcome for report in reports)
    judged = counts[Outcome.REFUSED] + counts[Outcome.EXACT]
    print()
    for name, count in (("bad", counts[Outcome.VIOLATED]), ("unserved", counts[Outcome.UNSERVED])):
        if count:
            print(_text(name, language).format(count=count))
    if not counts[Outcome.VIOLATED]:
        print(_text("good", language).format(count=judged))
    why = Counter(report.details[0] for report in reports if report.outcome is Outcome.NOT_APPLICABLE)
    if why or not logged:
        print(_text("unjudged", language))
    for reason, count in sorted(why.items()):
        print("  " + _text("probes", language).format(why=reason, count=count))
    if not logged:
        print("  " + _text("no_log", language))


def _status(reports: tuple[Report, ...]) -> int:
    outcomes = {report.outcome for report in reports}
    if Outcome.VIOLATED in outcomes:
        return 1
    return 2 if Outcome.UNSERVED in outcomes or outcomes <= {Outcome.NOT_APPLICABLE} else 0


def _wrong(message: str, where: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code="CORPUS_TARGET", message=message, where=where, hint=hint),))
