"""`zt init`: a working installation in one folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zt_engine.bootstrap.installation import Choices, install, unlisted
from zt_engine.cli.output import chosen_language, warn_if_edited

NEXT = {
    "en": """\
{folder} is ready.

  1. run the sidecar        zt sidecar run --config {folder}/zt.toml
  2. hook your proxy in     zt hook nginx --config {folder}/zt.toml --service SERVICE --backend 127.0.0.1:8080
  3. name your systems      edit {folder}/policy/catalogue.yaml   (taken up by itself){unlisted}
{people}
Or with a control plane. Fill in what you want in {folder}/zt.toml, and run this in place of 1:

                            zt up --config {folder}/zt.toml      (ready at `sidecar.started`)
{browsers}
  people enroll devices     `[enrollment]`   (docs/enrollment.md), then, beside `zt up`,
                            zt device --config {folder}/zt.toml invite SUBJECT
""",
    "ja": """\
{folder} の準備ができました。

  1. サイドカーを起動する        zt sidecar run --config {folder}/zt.toml
  2. プロキシにつなぐ            zt hook nginx --config {folder}/zt.toml --service サービス --backend 127.0.0.1:8080
  3. システムを登録する          {folder}/policy/catalogue.yaml を編集（自動で反映されます）{unlisted}
{people}
コントロールプレーンも使う場合は、{folder}/zt.toml の必要な項目を設定し、1 の代わりに次を実行します。

                                 zt up --config {folder}/zt.toml  （sidecar.started と出れば起動完了です）
{browsers}
  端末を登録できるようにする     [enrollment]（docs/enrollment.md）。zt up の起動後に
                                 zt device --config {folder}/zt.toml invite 利用者
""",
}

UNLISTED = {
    "en": "\n                            {host} is in no service there yet: write it at `hosts` of one",
    "ja": "\n                                 {host} は、どのサービスの hosts にもまだありません",
}
PEOPLE = {
    "en": "  4. say who signs people in: `[[issuers]]` in {folder}/zt.toml\n",
    "ja": "  4. サインイン元を設定する      {folder}/zt.toml の [[issuers]]\n",
}
BROWSERS = {
    "en": """
  people sign in with       `browser_listen` and `[sign_in]`   (docs/browser-sign-in.md),
  a browser                 `[administrators]` for those of them who administer   (docs/desk.md)""",
    "ja": """
  ブラウザーでサインインする     browser_listen と [sign_in]（docs/browser-sign-in.md）
                                 管理者の役割は [administrators]（docs/desk.md）""",
}
"""What takes an issuer, so it is said where that is known already."""


def init(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    pack: Annotated[str, typer.Option(help="The policy pack: corp or jp-gov.")] = "corp",
    host: Annotated[
        list[str] | None,
        typer.Option(help="A host the proxy serves; SERVICE=HOST names it in the catalogue too. May be repeated."),
    ] = None,
    issuer: Annotated[str, typer.Option(help="The `iss` of your identity provider's tokens.")] = "",
    audience: Annotated[str, typer.Option(help="The `aud` that tokens for your systems carry.")] = "",
    jwks: Annotated[str, typer.Option(help="The provider's key set: an https URL or a file.")] = "",
    listen: Annotated[str, typer.Option(help="Where proxies ask.")] = "127.0.0.1:9191",
    admin_listen: Annotated[str, typer.Option(help="Health and metrics.")] = "127.0.0.1:9192",
    channel: Annotated[str, typer.Option(help="The channel the proxy stands on: open, closed, lgwan, gsn.")] = "open",
    lang: Annotated[str | None, typer.Option(help="ja or en.")] = None,
) -> None:
    """Make a folder with keys, a signed policy pack and a configuration that works as it stands."""
    language = chosen_language(lang)
    choices = Choices(
        pack=pack,
        language=language,
        listen=listen,
        admin_listen=admin_listen,
        hosts=tuple(host or ()),
        channel=channel,
        issuer=issuer,
        audience=audience,
        jwks=jwks,
    )
    warn_if_edited(pack, language)
    install(folder, choices, now=time.time())
    people = "" if issuer else PEOPLE[language].format(folder=folder)
    browsers = BROWSERS[language] if issuer else ""
    left = "".join(UNLISTED[language].format(host=one) for one in unlisted(choices))
    typer.echo(NEXT[language].format(folder=folder, people=people, browsers=browsers, unlisted=left), nl=False)
