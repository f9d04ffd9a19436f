"""`zt control`: run the control plane, back it up, restore it, and keep its admin keys."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, get_args

import typer
import uvloop

from zt_engine import logs
from zt_engine.adapters.admin_keys import AdminKey, digest_of, make_key, read_admins, write_admins
from zt_engine.adapters.ca_keys import read_passphrase, rotate_authority
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.control_backup import backup as make_backup
from zt_engine.bootstrap.control_backup import restore as restore_backup
from zt_engine.bootstrap.control_parts import forget_stream_keys as forget_keys
from zt_engine.bootstrap.trust_signing import make_root_key, sign_trust
from zt_engine.cli import opa_client
from zt_engine.cli.output import Language, chosen_language
from zt_engine.config import CONFIG_NAME, load_control
from zt_engine.core.bundle import is_service_id
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.ports.administration import Role

app = typer.Typer(no_args_is_help=True)
keys = typer.Typer(no_args_is_help=True)
app.add_typer(opa_client.app, name="opa-client", help="OPAs that fetch bundles, with a token of their own.")
app.add_typer(keys, name="admin-key", help="Who administers, with a key of their own.")

Config = Annotated[Path, typer.Option("--config", envvar="ZT_CONFIG", help="The configuration file.")]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]
OVERLAP_DAYS = 7

_TEXTS: dict[str, dict[Language, str]] = {
    "backed_up": {
        "en": "{file}: {rows} rows, {cas} files of device CAs. Keep the passphrase somewhere else: {passphrase}",
        "ja": "{file}: {rows}行、端末CAのファイル{cas}個。パスフレーズは別の場所に保管してください: {passphrase}",
    },
    "restored": {
        "en": "restored {rows} rows, made at {made_at}. Sidecars go on by themselves, with a snapshot.",
        "ja": "{rows}行を復元しました（{made_at}に作成）。サイドカーはスナップショットから自動的に再開します。",
    },
    "of_the_past": {
        "en": "zt: this is the state of {made_at}. What was revoked, lost, quarantined, withdrawn or left after that\n"
        "    opens again, as soon as sidecars follow. BEFORE `zt control run`: look through audit and decision log of\n"
        "    the time since, and be ready to do it again at once: zt device revoke|lost, POST /v1/revocations.\n"
        "    Every sidecar takes a whole snapshot; none goes on from where it was.",
        "ja": "zt: {made_at} 時点の状態に戻りました。それ以降の失効・紛失・隔離・招待の取消し・離職は失われており、\n"
        "    サイドカーが追従すると再び利用できるようになります。zt control run の前に、その後の監査ログと\n"
        "    判定ログを確認し、直ちにやり直せるようにしてください: zt device revoke|lost、POST /v1/revocations。\n"
        "    サイドカーは、途中からではなく全体のスナップショットを取り直します。",
    },
    "key_made": {
        "en": "{name} ({role}): the key is in {file}. It cannot be shown again.",
        "ja": "{name}（{role}）: キーは {file} にあります。再表示はできません。",
    },
    "key_removed": {"en": "{name}: the key opens nothing any more.", "ja": "{name}: キーを無効にしました。"},
    "keys_forgotten": {
        "en": "the next start signs with {file}, whoever knows it. Let every sidecar join again: zt sidecar join TOKEN",
        "ja": "次の起動では {file} で署名します。すべてのサイドカーを参加し直してください: zt sidecar join TOKEN",
    },
    "root_made": {
        "en": "{file} is the root: keep it offline, on paper or on a token. Sidecars may pin {public} (`root_file`).",
        "ja": "{file} がルート鍵です。オフラインで保管してください。公開鍵は {public} です（`root_file`）。",
    },
    "trust_signed": {
        "en": "{file}: version {version}, {approvers} approvers, {keys} bundle keys. Sidecars take it within seconds.",
        "ja": "{file}: 版{version}、承認者{approvers}人、バンドル鍵{keys}個。サイドカーは数秒で受け取ります。",
    },
    "ca_made": {
        "en": "device CA {id} signs from {at} on. Have the control plane read it: kill -HUP",
        "ja": "端末CA {id} は {at} から署名します。コントロールプレーンに読み込ませてください: kill -HUP",
    },
}


@app.callback()
def group() -> None:
    """Run the control plane and look after it."""


@app.command()
def run(
    config: Config = Path(CONFIG_NAME),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log debugging detail.")] = False,
    lang: Lang = None,
) -> None:
    """Serve administrators, devices and sidecars until SIGTERM. SIGHUP reads the device CAs again.

    Any other change of its settings takes a restart, and SIGHUP says so in the log.
    """
    chosen_language(lang)
    logs.configure(verbose=verbose)
    uvloop.run(serve(config))


async def serve(config: Path) -> None:
    """Run one control plane until it is told to stop."""
    program = ControlProgram(load_control(config))
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    reloads: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        task = loop.create_task(program.reload(config))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await program.start()
        ends = [loop.create_task(program.wait()), loop.create_task(stopped.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
    finally:
        await program.stop()


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the backup goes; an older one there is replaced.")],
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Write database, administrators, device CAs and the stream's key to one file, while the control plane runs."""
    language = chosen_language(lang)
    settings = load_control(config)
    made = make_backup(settings, file, now=time.time())
    cas = sum(name.startswith("device-ca/") for name in made.sha256)
    passphrase = settings.path(settings.control.passphrase_file)
    _say("backed_up", language, file=file, rows=made.rows, cas=cas, passphrase=passphrase)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Make a new installation what the backup was. Its database has to be empty; keys that are replaced stay aside."""
    language = chosen_language(lang)
    made = restore_backup(load_control(config), file, now=time.time())
    made_at = _instant(made.made_at)
    _say("restored", language, rows=made.rows, made_at=made_at)
    print(_TEXTS["of_the_past"][language].format(made_at=made_at), file=sys.stderr)


@app.command("rotate-ca")
def rotate_ca(
    overlap_days: Annotated[int, typer.Option(min=1, max=90, help="Until the new CA signs.")] = OVERLAP_DAYS,
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Make the next device CA: it is published at once, and signs when every sidecar has it."""
    language = chosen_language(lang)
    settings = load_control(config)
    control = settings.control
    made = rotate_authority(
        settings.path(control.device_cas),
        name="Device CA of this installation's control plane",
        passphrase=read_passphrase(settings.path(control.passphrase_file)),
        now=time.time(),
        overlap=overlap_days * 86_400,
    )
    _say("ca_made", language, id=made.id, at=_instant(made.signs_from))


@app.command("forget-stream-keys")
def forget_stream_keys(config: Config = Path(CONFIG_NAME), lang: Lang = None) -> None:
    """Have the next start sign with a key that sidecars were not told of: every sidecar has to join again."""
    language = chosen_language(lang)
    settings = load_control(config)
    forget_keys(settings)
    _say("keys_forgotten", language, file=settings.path(settings.control.stream_key_file))


@app.command("root-key")
def root_key(
    file: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.")], lang: Lang = None
) -> None:
    """Make the tenant's root key. It never belongs on the control plane."""
    public = make_root_key(file)
    print(_TEXTS["root_made"][chosen_language(lang)].format(file=file, public=public))


@app.command("sign-trust")
def sign(
    root: Annotated[Path, typer.Option("--root-key", help="The root's private key (PEM).")],
    staleness: Annotated[
        list[str] | None, typer.Option("--staleness", help="SITE:LABEL=SECONDS, `*` for every site; repeatable.")
    ] = None,
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Sign the approvers and bundle keys that the settings name, and how stale what was heard may grow."""
    settings = load_control(config)
    try:
        pem = root.read_bytes()
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(root)),)) from None
    document = sign_trust(settings, pem, staleness or (), where=str(root))
    text = _TEXTS["trust_signed"][chosen_language(lang)]
    file = settings.path(settings.control.trust_file)
    print(
        text.format(
            file=file, version=document.version, approvers=len(document.approvers), keys=len(document.bundle_keys)
        )
    )


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is; the audit names them.")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Role))}.")],
    out: Annotated[Path | None, typer.Option(help="The key's file; default: keys/NAME.key.")] = None,
    person: Annotated[str, typer.Option(help="The subject they are when they sign in: nobody approves alone.")] = "",
    service: Annotated[str, typer.Option(help="The one service they answer for and may publish.")] = "",
    config: Config = Path(CONFIG_NAME),
    lang: Lang = None,
) -> None:
    """Make a key for an administrator. The server keeps its digest only."""
    language = chosen_language(lang)
    if role not in get_args(Role):
        raise typer.BadParameter(f"one of {', '.join(get_args(Role))}", param_hint="--role")
    if service and (role != "viewer" or not is_service_id(service)):
        raise typer.BadParameter("a service of the catalogue, with --role viewer", param_hint="--service")
    settings = load_control(config)
    path = settings.path(settings.control.admins)
    known = read_admins(path)
    if name in {admin.name for admin in known}:
        raise _admins_fault(path, f"`{name}` is there already")
    target = out or settings.path(Path("keys") / f"{name}.key")
    key = make_key()
    _write_key(target, key)
    made = AdminKey(name=name, role=role, sha256=digest_of(key), person=person, service=service)  # type: ignore[arg-type]
    write_admins(path, (*known, made))
    _say("key_made", language, name=name, role=role, file=target)


@keys.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose key.")], config: Config = Path(CONFIG_NAME), lang: Lang = None
) -> None:
    """Take a key out; it opens nothing from the next request on."""
    language = chosen_language(lang)
    settings = load_control(config)
    path = settings.path(settings.control.admins)
    known = read_admins(path)
    kept = tuple(admin for admin in known if admin.name != name)
    if len(kept) == len(known):
        raise _admins_fault(path, f"there is no `{name}`")
    write_admins(path, kept)
    _say("key_removed", language, name=name)


@keys.command("list")
def show(config: Config = Path(CONFIG_NAME), lang: Lang = None) -> None:
    """List administrators with a key."""
    chosen_language(lang)
    settings = load_control(config)
    for admin in read_admins(settings.path(settings.control.admins)):
        print(f"{admin.name}\t{admin.role}\t{admin.person}" + (f"\t{admin.service}" if admin.service else ""))


def _write_key(path: Path, key: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        problem = Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path), hint="name another --out")
        raise ConfigError((problem,)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")


def _admins_fault(path: Path, message: str) -> ConfigError:
    return ConfigError((Problem(code="ADMINS_FILE", message=message, where=str(path)),))


def _instant(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _say(text: str, language: Language, **values: object) -> None:
    print(_TEXTS[text][language].format(**values))
