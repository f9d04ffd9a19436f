"""What command groups share that ask the control plane with an admin key: which one, as whom, in which language."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.adapters.control_http import ControlClient, read_key
from zt_engine.bootstrap.installation import ADMIN_KEY
from zt_engine.cli.output import Language, chosen_language
from zt_engine.config import CONFIG_NAME, load_control


class Asking:
    """Which control plane a group of commands asks, and as whom; set by the group's options."""

    config: Path = Path(CONFIG_NAME)
    server: str = ""
    key: Path | None = None
    ca: Path | None = None
    lang: str | None = None

    @property
    def language(self) -> Language:
        """The reader's language."""
        return chosen_language(self.lang)

    @contextlib.contextmanager
    def client(self) -> Iterator[ControlClient]:
        """Open the control plane that is named."""
        url, key, ca = self.server, self.key, self.ca
        if not url or key is None:
            settings = load_control(self.config)
            url = url or settings.control.public_url
            key = key or settings.path(Path(ADMIN_KEY))
            if ca is None and settings.control.ca_file is not None:
                ca = settings.path(settings.control.ca_file)
        opened = ControlClient(url.rstrip("/"), key=read_key(key), ca_file=ca, language=self.language)
        with contextlib.closing(opened):
            yield opened


def asking(app: typer.Typer, help_: str) -> Asking:
    """Give a group its help and the options that say which control plane it asks."""
    asked = Asking()

    @app.callback(help=help_)
    def group(
        config: Annotated[Path, typer.Option(envvar="ZT_CONFIG", help="Says where the control plane is.")] = Path(
            CONFIG_NAME
        ),
        server: Annotated[str, typer.Option(help="URL of the control plane, instead of --config.")] = "",
        key: Annotated[Path | None, typer.Option(help="File of the admin key; default: keys/admin.key.")] = None,
        ca: Annotated[Path | None, typer.Option(help="CA certificates (PEM) the control plane is known by.")] = None,
        lang: Annotated[str | None, typer.Option("--lang", help="ja or en; default: the environment's.")] = None,
    ) -> None:
        asked.config, asked.server, asked.key, asked.ca, asked.lang = config, server, key, ca, lang
        chosen_language(lang)

    return asked
