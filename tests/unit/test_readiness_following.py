"""The policy of a folder, asked about devices as it becomes another one."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_readiness import NOW, a_record, with_fact
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.bootstrap.packs import compiled_bundle, pack_folder
from zt_engine.bootstrap.readiness_following import FolderReadiness
from zt_engine.control_plane.remedies import NoReadiness, Unmet
from zt_engine.core.bundle import sign_bundle

KEY = BundleSigningKey.generate("site")
UNKNOWN = [Unmet(code="READINESS_UNKNOWN")]
BAD = with_fact(a_record(), "disk.encrypted", value=False)


def lay(folder: Path, pack: str, key: BundleSigningKey = KEY) -> None:
    """Put a signed policy into a folder."""
    for name in ("catalogue.yaml", "trust.yaml"):
        (folder / name).write_bytes((pack_folder(pack) / name).read_bytes())
    (folder / "bundle.tar.gz").write_bytes(sign_bundle(compiled_bundle(pack), key))


def following(folder: Path) -> FolderReadiness:
    return FolderReadiness(folder, {"site": KEY.public()}, otherwise=NoReadiness())


def labels(readiness: FolderReadiness) -> set[str]:
    return {one.label for one in readiness.unmet(BAD, now=NOW) if one.code == "FIX_DISK"}


def test_until_there_is_a_policy_it_does_not_know(tmp_path: Path) -> None:
    readiness = following(tmp_path)
    assert list(readiness.unmet(BAD, now=NOW)) == UNKNOWN
    assert readiness.labels(BAD, now=NOW) == ""
    assert "ENCRYPTION_UNATTESTED" not in readiness.codes
    assert readiness.levels() == {}
    lay(tmp_path, "jp-gov")
    assert labels(readiness) == {"C2"}
    assert readiness.levels()["C2"].ja
    assert readiness.labels(BAD, now=NOW) == "C1"
    readiness.close()


def test_another_policy_is_asked_as_soon_as_it_is_there(tmp_path: Path) -> None:
    lay(tmp_path, "jp-gov")
    readiness = following(tmp_path)
    assert labels(readiness) == {"C2"}
    lay(tmp_path, "corp")
    assert labels(readiness) == {"Confidential"}
    assert readiness.codes["DEVICE_NOT_MANAGED"].text("en")
    readiness.close()


def test_a_policy_that_nobody_signed_whom_we_know_leaves_the_one_before(tmp_path: Path) -> None:
    lay(tmp_path, "jp-gov")
    readiness = following(tmp_path)
    assert labels(readiness) == {"C2"}
    lay(tmp_path, "corp", BundleSigningKey.generate("site"))
    assert labels(readiness) == {"C2"}
    (tmp_path / "bundle.tar.gz").unlink()
    assert labels(readiness) == {"C2"}
    readiness.close()


def test_a_policy_that_was_refused_from_the_start_is_none(tmp_path: Path) -> None:
    lay(tmp_path, "jp-gov", BundleSigningKey.generate("site"))
    readiness = following(tmp_path)
    assert list(readiness.unmet(BAD, now=NOW)) == UNKNOWN
