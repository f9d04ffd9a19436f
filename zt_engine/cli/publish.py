"""`zt policy publish` and what goes with it: approve, history, diff, rollback, status, withdraw."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from zt_engine import logs
from zt_engine.adapters.approvals import approve as sign_approval
from zt_engine.adapters.approvals import key_id
from zt_engine.adapters.control_http import ControlClient
from zt_engine.adapters.control_http import read_key as read_admin_key
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.releases_http import ReleasesHttp
from zt_engine.bootstrap.impact import impact as impact_on
from zt_engine.bootstrap.publishing import Published, Publisher
from zt_engine.bootstrap.publishing_ground import (
    approver_key,
    beats,
    before_of,
    believed_keys,
    source_at,
    source_of,
)
from zt_engine.bootstrap.release_diff import diff as release_diff
from zt_engine.bootstrap.release_gate import gate
from zt_engine.bootstrap.release_reading import ReleaseReader
from zt_engine.bootstrap.steps import Step, silent
from zt_engine.bootstrap.watching import Watch
from zt_engine.bootstrap.workbench import Built, Workbench, read_key
from zt_engine.cli.output import Language, chosen_language, print_error
from zt_engine.cli.progress import progress
from zt_engine.cli.publish_report import (
    say,
    show_diff,
    show_impact,
    show_texts,
    show_weakenings,
)
from zt_engine.cli.release_tables import console, show_history, show_status
from zt_engine.cli.rollout import read_file
from zt_engine.config import CONFIG_NAME, ControlSettings, load_control
from zt_engine.core.errors import ConfigError, InputError, Problem, ZtError
from zt_engine.core.release import approved_content

Config = Annotated[Path, typer.Option("--config", envvar="ZT_CONFIG", help="Says where the control plane is.")]
Opa = Annotated[str | None, typer.Option("--opa", envvar="OPA", help="The program opa; default: the one on PATH.")]
Lang = Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")]
Key = Annotated[Path | None, typer.Option("--key", help="The private bundle key (PEM); default: publishing.key_file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Go through every step and submit nothing.")]
Before = Annotated[
    Path | None,
    typer.Option("--before", help="A first release: the bundle it is compared with; default: that of policy.folder."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say what is being done, as on a terminal, wherever it is run.")
]
Seq = Annotated[int, typer.Argument(min=1, help="The number of a release.")]
CONFIG = Path(CONFIG_NAME)


@contextlib.contextmanager
def plane_of(settings: ControlSettings, language: Language) -> Iterator[ReleasesHttp]:
    """Open the control plane that the settings name."""
    wanted = settings.publishing
    ca = wanted.ca_file or settings.control.ca_file
    client = ControlClient(
        (wanted.url or settings.control.public_url).rstrip("/"),
        key=read_admin_key(settings.path(wanted.admin_key_file)),
        ca_file=None if ca is None else settings.path(ca),
        language=language,
    )
    with contextlib.closing(client):
        yield ReleasesHttp(client)


def publisher_of(
    settings: ControlSettings,
    plane: ReleasesHttp,
    key: Path | None,
    *,
    before: Path | None = None,
    step: Step = silent,
) -> Publisher:
    """Return the publisher of these settings; ConfigError where there is no key to sign with."""
    wanted = settings.publishing
    path = key or (None if wanted.key_file is None else settings.path(wanted.key_file))
    if path is None:
        hint = "give --key, or name it in zt.toml"
        raise ConfigError((Problem(code="CONFIG_MISSING_KEY", message="`publishing.key_file`", hint=hint),))
    return Publisher(
        plane,
        read_key(path, None),
        clock=time.time,
        days=wanted.days,
        author=wanted.author,
        believed=believed_keys(settings),
        before=before_of(settings, before),
        step=step,
    )


def plan_of(file: Path | None, *, report_only: bool) -> dict[str, Any] | None:
    """Return the plan by which a release goes out; what is only watched needs no file."""
    if file is None:
        return {"rings": [{"name": "all", "percent": 100}], "mode": "report-only"} if report_only else None
    return {**read_file(file), **({"mode": "report-only"} if report_only else {})}


def publish(
    pack: Annotated[Path | None, typer.Argument(help="Folder of the pack; default: as the settings say.")] = None,
    key: Key = None,
    dry_run: DryRun = False,
    log: Annotated[
        Path | None, typer.Option("--log", help="A decision log: what of it is decided more permissively weakens.")
    ] = None,
    accept_rewrite: Annotated[
        bool, typer.Option("--accept-rewrite", help="Publish a branch that was rewritten, this once.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="How it goes out (YAML or JSON): `rings`, `dwell`, `guards`.")
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Have it watched in shadow; it decides nowhere.")
    ] = False,
    before: Before = None,
    verbose: Verbose = False,
    config: Config = CONFIG,
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Check, test, compare, sign and release a pack. Exit 1: a step failed, and what was in force is in force still."""
    language = chosen_language(lang)
    settings = load_control(config)
    with unchanged(language), plane_of(settings, language) as plane:
        staged = plan_of(plan, report_only=report_only)
        step = progress(language, verbose=verbose)
        publisher = publisher_of(settings, plane, key, before=before, step=step)
        bench = Workbench(opa, step=step)

        def build(folder: Path) -> Built:
            return gate(bench, folder, publisher.key, language=language)

        source = source_of(settings, accept_rewrite=accept_rewrite) if pack is None else source_at(settings, pack)
        if pack is not None and settings.publishing.owners:
            say("no_owners", language, folder=pack)
        state = source.state()
        built = source.build(build, state)
        if log is not None:
            step("replay")
        also = () if log is None else impact_on(built.bundle, read_log([log])).weakens
        if dry_run:
            draft = publisher.draft(built.raw, also=also)
            show_weakenings(draft.weakens, language)
            release = draft.release
            say("dry", language, seq=release.seq, revision=draft.bundle.revision, needed=release.approvals_needed)
            return
        published = publisher.publish(built.raw, also=also, plan=staged)
        report(published, language, staged=staged is not None)
        if not report_only:
            source.published(state, published)


def watch(
    key: Key = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Publish what lies there over a release that did not come from there.")
    ] = False,
    config: Config = CONFIG,
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Publish by itself whenever the sources that the settings name change, and renew what nears its end."""
    language = chosen_language(lang)
    logs.configure(verbose=False)
    settings = load_control(config)
    bench = Workbench(opa)
    with plane_of(settings, language) as plane:
        publisher = publisher_of(settings, plane, key)
        source = source_of(settings)
        watcher = Watch(
            source,
            publisher,
            lambda folder: gate(bench, folder, publisher.key, language=language),
            days=settings.publishing.days,
            adopt=adopt,
        )
        say("watching", language, source=watcher.at)
        for _ in beats(source, settings.publishing.poll_seconds):
            came = watcher.look()
            if came is not None:
                say("looked", language, source=watcher.at)
            if isinstance(came, ZtError):
                print_error(came, language)
            elif came is not None:
                report(came, language)


def impact(
    pack: Annotated[Path, typer.Argument(help="The pack's folder.")],
    log: Annotated[Path, typer.Option("--log", help="The folder of a decision log.")],
    opa: Opa = None,
    lang: Lang = None,
) -> None:
    """Decide a decision log again under a pack: whom and what it changes, and in which direction. Exit 1: some."""
    language = chosen_language(lang)
    found = impact_on(Workbench(opa).build(pack).bundle, read_log([log]))
    show_impact(found, language)
    raise typer.Exit(1 if found.changes else 0)


def rollback(
    seq: Annotated[int | None, typer.Argument(min=1, help="Whose content; default: the way back.")] = None,
    key: Key = None,
    config: Config = CONFIG,
    lang: Lang = None,
) -> None:
    """Put the approved way back in force, under a new number; another release's content is compared and may wait."""
    language = chosen_language(lang)
    settings = load_control(config)
    with unchanged(language), plane_of(settings, language) as plane:
        report(publisher_of(settings, plane, key).rollback(seq), language)


def approve(
    seq: Seq,
    key: Annotated[Path, typer.Option("--key", help="Your private key (PEM, Ed25519).")],
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    before: Before = None,
    config: Config = CONFIG,
    lang: Lang = None,
) -> None:
    """Show what a waiting release gives up, found out here and not believed, and its way back; then sign both."""
    language = chosen_language(lang)
    settings = load_control(config)
    signer = approver_key(key)
    with plane_of(settings, language) as plane:
        if key_id(signer.public_key()) in plane.get(seq).get("approved_with", ()):
            raise InputError("APPROVED_ALREADY", "the release has a signature by this key", where=f"release {seq}")
        reader = ReleaseReader(plane, believed_keys(settings), before=before_of(settings, before))
        release, weakens = reader.judged(seq)
        show_texts(*reader.texts(seq), language)
        show_weakenings(weakens, language)
        say("approving", language, seq=seq, content=release.content_digest[:16], way_back=release.way_back[:16] or "-")
        if not yes and not typer.confirm({"ja": "承認しますか?", "en": "Approve it?"}[language]):
            raise typer.Exit(1)
        told = plane.approve(seq, sign_approval(signer, "release", approved_content(release)))
    say(
        str(told.get("state", "waiting")),
        language,
        seq=seq,
        revision=told.get("revision", ""),
        lacking=told.get("lacking", 0),
    )


def history(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20, config: Config = CONFIG, lang: Lang = None
) -> None:
    """List releases, newest first, with what became of each."""
    language = chosen_language(lang)
    with plane_of(load_control(config), language) as plane:
        active = plane.next().active
        found = plane.history(most=limit)
        number = 0 if active is None else active.seq
        show_history(console(), found, language, active=number, now=time.time())


def status(
    seq: Annotated[int | None, typer.Argument(min=1, help="Which release; default: the one in force.")] = None,
    config: Config = CONFIG,
    lang: Lang = None,
) -> None:
    """Say who has a release, and who has not, since when and why."""
    language = chosen_language(lang)
    with plane_of(load_control(config), language) as plane:
        active = plane.next().active
        if seq is None and active is None:
            say("none", language)
            raise typer.Exit(1)
        newest = 0 if active is None else active.seq
        missing = show_status(console(), plane.status(seq or newest), language, active=newest)
    raise typer.Exit(1 if missing else 0)


def withdraw(
    seq: Seq,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit for ever.")],
    config: Config = CONFIG,
    lang: Lang = None,
) -> None:
    """Take back a release that waits for approvals."""
    language = chosen_language(lang)
    with plane_of(load_control(config), language) as plane:
        plane.withdraw(seq, reason)
    say("withdrawn", language, seq=seq)


def diff(
    old: Annotated[int | None, typer.Argument(min=1, help="From which release; default: the one before.")] = None,
    new: Annotated[int | None, typer.Argument(min=1, help="To which; default: the one in force.")] = None,
    config: Config = CONFIG,
    lang: Lang = None,
) -> None:
    """Say what changed between two releases: files, labels, decisions of scenarios."""
    language = chosen_language(lang)
    settings = load_control(config)
    with plane_of(settings, language) as plane:
        before, after = ReleaseReader(plane, believed_keys(settings)).pair(old, new)
    show_diff(release_diff(before, after), language)


def report(published: Published, language: Language, *, staged: bool = False) -> None:
    """Say what became of a release."""
    show_weakenings(published.weakens, language)
    state = "staged" if staged and published.state == "released" else published.state
    if published.weakens and published.state == "released":
        say("alone", language)
    say(state, language, seq=published.seq, revision=published.revision, lacking=published.lacking)


@contextlib.contextmanager
def unchanged(language: Language) -> Iterator[None]:
    """A step that failed is told with its place, and that nothing changed; the exit status is 1."""
    try:
        yield
    except ZtError as error:
        print_error(error, language)
        say("failed", language)
        raise typer.Exit(1) from None


COMMANDS: Mapping[str, Callable[..., None]] = {
    "publish": publish,
    "impact": impact,
    "watch": watch,
    "approve": approve,
    "history": history,
    "diff": diff,
    "rollback": rollback,
    "status": status,
    "withdraw": withdraw,
}
"""What is added to `zt policy`."""
