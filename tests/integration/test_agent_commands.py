"""`zt agent` as a person runs it: real processes, a real browser's part played by a script, this very machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from typer.testing import CliRunner

from device_inventory.agent.spool import Spool, write_spool
from device_inventory.agent.state import Held, Home, Item, State, ca_name
from device_inventory.notice import allowed
from tests.fakes.agent_world import who
from tests.fakes.control_plane_http import FakeControlPlane, problem
from tests.forked import Forked
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.demo_provider import DemoProvider
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.cli.agent_report import Screen
from zt_engine.cli.main import app
from zt_engine.pages.registry import registry

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
PROGRAM = [sys.executable, "-c", "from zt_engine.cli import main; main()"]
BROWSER = """#!{python}
import sys, urllib.request
with open({log!r}, "a") as file:
    file.write(sys.argv[1] + "\\n")
urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(sys.argv[1], timeout=20).read()
"""


class Desk:
    """A person's desk: a machine with a browser, and a folder; somewhere else the two servers."""

    def __init__(self, folder: Path, plane: FakeControlPlane, provider: DemoProvider) -> None:
        self.plane = plane
        self.provider = provider
        self.folder = folder
        self.home = Home(folder / "home")
        self.visited = folder / "visited"
        self.said = ""
        programs = folder / "bin"
        programs.mkdir()
        browser = programs / "xdg-open"
        browser.write_text(BROWSER.format(python=sys.executable, log=str(self.visited)))
        browser.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    def start(self, *words: str, **more: str) -> Forked:
        """Run the program, without waiting for it."""
        return Forked(self._words(words), env=self.environment | more, stdout=PIPE, stderr=PIPE, text=True)

    def start_python(self, *words: str) -> subprocess.Popen[str]:
        """Run the program as a person does whose command line everybody can read in /proc."""
        return subprocess.Popen(
            [*PROGRAM, *self._words(words)],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )

    def _words(self, words: tuple[str, ...]) -> list[str]:
        return ["agent", *words, "--home", str(self.home.path)]

    def run(self, *words: str, **more: str) -> tuple[int, str, str]:
        """Run the program; return its status and what it said."""
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=60)
        self.said += out + err
        return process.returncode, out, err

    def already_looked(self) -> None:
        """Let the slow look of the day have been: which updates wait takes many seconds to find out."""
        self.home.prepare()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        write_spool(self.home, Spool(boot_id=boot_id, slow_at=int(CLOCK.now())))

    def enrolled(self) -> None:
        """Enroll this machine as the ground of a test about something else."""
        status, out, err = self.enroll()
        assert status == 0, out + err

    def enroll(self, *words: str, **more: str) -> tuple[int, str, str]:
        """Enroll this machine with a new invitation."""
        code = self.plane.invite("tanaka")
        return self.run("enroll", code, "--server", self.plane.url, "--key", "file", "--yes", *words, **more)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with (
        DemoProvider(CLOCK, person="tanaka") as provider,
        FakeControlPlane(CLOCK, issuer=provider.issuer, who=who) as plane,
    ):
        plane.needed = {}
        made = Desk(tmp_path, plane, provider)
        made.already_looked()
        yield made


def test_a_person_enrolls_this_machine_with_a_browser_and_it_reports_its_real_posture(desk: Desk) -> None:
    desk.home.remove("spool.json")
    status, out, err = desk.enroll()

    assert (status, err) == (0, "")
    assert [device.status for device in desk.plane.devices.values()] == ["active"]
    facts = desk.plane.reports[0]["facts"]
    assert set(facts) <= allowed("corp")
    assert "Enrolled. The device's id: dev-" in out
    assert "patch.pending_security" in facts
    assert facts["os.id"]["value"]


def test_a_person_is_spoken_to_in_their_language(desk: Desk) -> None:
    desk.plane.needed = {"mdm.compliant": "C2"}
    _, out, _ = desk.enroll(LANG="ja_JP.UTF-8")
    desk.plane.good_for = "C1"
    status, shown, _ = desk.run("status", LANG="ja_JP.UTF-8")
    _, english, _ = desk.run("status", "--lang", "en", LANG="ja_JP.UTF-8")

    assert "登録しました" in out
    assert status == 1
    assert shown.startswith("いま使えるのは「C1」の情報までです。「C2」には: ")
    assert english.startswith("Good for data up to C1 now; for C2: ")
    assert "「C2」の情報に必要:" in shown
    assert "あと1項目で利用できます。" in shown
    assert "needed for data labelled C2:" in english
    assert "The key is kept" not in shown


def test_what_was_reported_in_one_language_is_read_in_another(capsys: pytest.CaptureFixture[str]) -> None:
    item = Item(code="FIX_DISK", label="C2", text="in the language of the report", remedy="likewise")
    Screen("ja").missing([item])
    Screen("en").missing([item, Item(code="OF_A_POLICY", text="its own words")])
    said = capsys.readouterr().out

    assert registry()["FIX_DISK"].ja in said.replace("\n", "")
    assert registry()["FIX_DISK"].en[:20] in said
    assert "its own words" in said
    assert "in the language of the report" not in said


@pytest.mark.parametrize(
    ("language", "good_for", "lacks", "first"),
    [
        ("en", "C1", [("FIX_DISK", "C2"), ("FACTS_UNVOUCHED", "C2"), ("OF_A_POLICY", "C3")],
         "Good for data up to C1 now; for C2: The disk is not confirmed to be encrypted. (1 more)"),
        ("ja", "C1", [("FIX_DISK", "C2"), ("FACTS_UNVOUCHED", "C2")],
         "いま使えるのは「C1」の情報までです。「C2」には: ディスクの暗号化を確認できません。（ほか1項目）"),
        ("en", "C3", [], "Good for data up to C3 now"),
        ("en", "C3", [("FIX_DISK", "")], "Good for data up to C3 now"),
        ("ja", "", [("APPROVAL_PENDING", ""), ("FIX_DISK", "C1")],
         "いまはどの情報にも使えません。「C1」には: ディスクの暗号化を確認できません。"),
        ("en", "", [("FIX_DISK", "C1")], "Good for no data now; for C1: The disk is not confirmed to be encrypted."),
        ("en", None, [("FIX_DISK", "C1")], "device: dev-1"),
    ],
)  # fmt: skip
def test_what_the_device_is_good_for_now_comes_first_and_then_what_the_next_label_takes(
    language: Any, good_for: str | None, lacks: list[tuple[str, str]], first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    held = Held(device_id="dev-1", certificate="", chain="", x5t="", not_before=0, not_after=2, protection="file")
    state = State(url="https://control.example", held=held)
    items = [Item(code=code, label=label, text="its own words") for code, label in lacks]
    Screen(language).status(state, items, now=1, status="active", good_for=good_for)

    assert "".join(capsys.readouterr().out.split()).startswith("".join(first.split()))


def test_the_status_is_there_for_programs_too(desk: Desk) -> None:
    before = desk.run("status", "--json")
    desk.enrolled()
    desk.plane.good_for = "C2"
    status, out, _ = desk.run("status", "--json")
    shown = json.loads(out)

    assert before[0] == 1
    assert json.loads(before[1]) == {"enrolled": False, "live": False}
    assert status == 0
    assert shown["key_protection"] == "file"
    assert shown["status"] == "active"
    assert shown["live"] is True
    assert shown["good_for"] == "C2"
    assert shown["items"] == []
    assert shown["certificate"]["over"] is False


def test_without_the_server_the_status_is_of_the_last_report_and_says_so(desk: Desk) -> None:
    desk.enrolled()
    desk.plane.refuse = lambda method, path: problem(503, "STORE_DOWN")
    status, out, err = desk.run("status", "--json")

    assert status == 0
    assert json.loads(out)["live"] is False
    assert json.loads(out)["good_for"] is None  # what it is good for is said of now only
    assert "as of the last report" in err
    assert desk.run("status", "--offline")[2] == ""


def test_a_report_by_hand_says_what_is_missing(desk: Desk) -> None:
    desk.enrolled()
    desk.plane.needed = {"mdm.compliant": "C3"}
    status, out, _ = desk.run("report", "--quick")

    assert status == 1
    assert "needed for data labelled C3:" in out
    assert len(desk.plane.reports) == 2


@pytest.mark.parametrize("number", [3, 6, 7, 9])
def test_killed_with_signal_9_at_a_step_it_ends_enrolled_when_run_again(desk: Desk, number: int) -> None:
    code = desk.plane.invite("tanaka")
    words = ("enroll", code, "--server", desk.plane.url, "--key", "file", "--yes")
    started: list[Forked] = []
    left = [number]

    def kill(method: str, path: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            ready.wait(20)
            os.kill(started[0].pid, signal.SIGKILL)

    ready = threading.Event()
    desk.plane.after = kill
    started.append(desk.start(*words))
    ready.set()
    said = "".join(started[0].communicate(timeout=60))
    assert started[0].returncode == -signal.SIGKILL, said
    status, _, err = desk.run(*words)

    assert (status, err) == (0, "")
    assert [device.status for device in desk.plane.devices.values()] == ["active"]
    assert len(list(desk.home.path.glob("zt-device-*.pem"))) == 1


def test_the_agent_in_the_background_reports_and_stops_cleanly(desk: Desk) -> None:
    desk.enrolled()
    reported = threading.Event()
    desk.plane.after = lambda method, path: reported.set() if path == "/v1/reports" else None
    process = desk.start("run")
    assert reported.wait(30)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert process.returncode == 0
    assert events == ["agent.started", "agent.report_accepted", "agent.stopped"]


def test_two_agents_in_one_folder_never_use_a_number_twice(desk: Desk) -> None:
    desk.enrolled()
    both = [desk.start("report", "--quick") for _ in range(3)]
    for process in both:
        process.communicate(timeout=60)

    numbers = [claims["seq"] for claims in desk.plane.reports]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert numbers == [1, 2, 3, 4]


def test_the_device_is_reported_lost_from_itself(desk: Desk) -> None:
    desk.enrolled()
    refused = desk.run("lost")
    status, out, _ = desk.run("lost", "--yes")

    assert refused[0] == 1  # nobody said yes
    assert status == 0
    assert "Reported lost" in out
    assert [device.status for device in desk.plane.devices.values()] == ["lost"]


def test_a_device_is_reported_lost_from_another_machine(desk: Desk, tmp_path: Path) -> None:
    desk.enrolled()
    device = next(iter(desk.plane.devices))
    desk.home = Home(tmp_path / "another")
    status, _, err = desk.run("lost", "--device", device, "--server", desk.plane.url, "--yes")

    assert (status, err) == (0, "")
    assert desk.plane.devices[device].status == "lost"


@pytest.mark.parametrize(
    ("portal", "opened", "status"),
    [
        ("", "https://cp.example", 0),
        ("https://portal.example/me", "https://portal.example/me", 0),
        ("file:///etc/passwd", "AGENT_PORTAL", 2),
        ("http://portal.example", "AGENT_PORTAL", 2),
        ("https://a.example --flag", "AGENT_PORTAL", 2),
    ],
)
def test_the_portal_is_opened_and_only_where_that_is_safe(
    tmp_path: Path, portal: str, opened: str, status: int
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    held = Held(device_id="d", certificate="", chain="", x5t="", not_before=0, not_after=1, protection="file")
    home.save(State(url="https://cp.example", portal=portal, held=held))
    result = CliRunner().invoke(app, ["agent", "open", "--no-browser", "--home", str(home.path), "--lang", "en"])

    assert result.exit_code == status
    assert opened in result.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("report",), "AGENT_NOT_ENROLLED"),
        (("run",), "AGENT_NOT_ENROLLED"),
        (("open",), "AGENT_NOT_ENROLLED"),
        (("enroll", "abcdef"), "AGENT_SERVER_URL"),
        (("enroll", "abcdef", "--server", "https://cp.example"), "AGENT_SERVER_UNPINNED"),
        (("enroll", "a b", "--server", "http://127.0.0.1:9"), "AGENT_INVITATION_MALFORMED"),
        (("enroll", "abcdef", "--server", "http://127.0.0.1:9", "--proxy", "nonsense"), "AGENT_PROXY_URL"),
        (("enroll", "abcdef", "--server", "http://127.0.0.1:9"), "AGENT_SERVER_UNREACHABLE"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_few_lines_with_a_remedy(
    tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    home = ["--home", str(tmp_path / "home")]
    english, japanese = (
        CliRunner().invoke(app, ["agent", *words, *home, "--lang", language]) for language in ("en", "ja")
    )

    assert english.exit_code == japanese.exit_code == 2
    assert code in english.stderr
    assert code in japanese.stderr
    assert registry()[code].ja in japanese.stderr
    assert registry()[code].hint_en in english.stderr


def test_a_link_that_somebody_else_sent_changes_nothing_about_an_enrolled_device(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    held = Held(device_id="d", certificate="", chain="", x5t="", not_before=0, not_after=1, protection="file")
    home.save(State(url="https://cp.example", held=held))
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    for link in ("https://evil.example/#code=abcdef&ca=", "https://cp.example/#code=abcdef&ca="):
        result = CliRunner().invoke(app, ["agent", "enroll", link + "0" * 64, "--home", str(home.path)])
        assert "AGENT_ENROLLED" in result.stderr

    assert {path.name: path.read_bytes() for path in home.path.iterdir()} == before


def test_the_ca_of_the_control_plane_can_be_replaced_by_a_file(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    held = Held(device_id="d", certificate="", chain="", x5t="", not_before=0, not_after=1, protection="file")
    home.save(State(url="https://cp.example", held=held))
    ca, _, _ = write_server_certificate(tmp_path / "tls", ["cp.example"], now=CLOCK.now())
    result = CliRunner().invoke(app, ["agent", "trust", str(ca), "--home", str(home.path)])

    assert result.exit_code == 0
    assert home.read(ca_name("https://cp.example")) == ca.read_bytes()


def test_invariant_10_no_secret_is_ever_said_logged_or_handed_to_another_program(desk: Desk) -> None:
    desk.plane.needed = {"mdm.compliant": "C2"}
    code = desk.plane.invite("tanaka")
    words = ("enroll", "--server", desk.plane.url, "--key", "file", "--yes")
    desk.plane.refuse = lambda method, path: problem(409, "KEY_IN_USE") if path.endswith("/key") else None
    desk.run(*words, code)
    desk.plane.refuse = lambda method, path: (500, {}, b"oops") if path == "/v1/reports" else None
    desk.run(*words)
    desk.plane.refuse = lambda method, path: None
    desk.run(*words)
    reported = threading.Event()
    desk.plane.after = lambda method, path: reported.set() if path == "/v1/reports" else None
    process = desk.start_python("run", "--verbose")
    assert reported.wait(30)
    arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    desk.run("status", "--json")
    desk.plane.refuse = lambda method, path: problem(401, "AUTH_REFUSED")
    desk.run("report", "--quick")

    key = next(desk.home.path.glob("zt-device-*.pem")).read_text().splitlines()[1]
    said = desk.said + out + err + arguments + desk.visited.read_text()
    held = [*desk.plane.secrets, key, *desk.plane.nonces]
    assert len(held) > 10
    assert [secret[:12] for secret in held if secret in said] == []
    assert "BEGIN PRIVATE" not in said
    assert "code_verifier" not in said


def test_the_unit_is_one_that_systemd_accepts(desk: Desk, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip(reason="no systemd on this machine")
    _, out, _ = desk.run("unit")
    unit = tmp_path / "zt-agent.service"
    unit.write_text(out)
    checked = subprocess.run(
        [analyze, "verify", "--user", str(unit)], check=False, capture_output=True, text=True, env=os.environ
    )

    assert "agent run --home" in out
    assert [line for line in checked.stderr.splitlines() if "zt-agent.service" in line] == []


def test_the_folder_of_a_person_is_nobody_elses(desk: Desk) -> None:
    desk.enrolled()

    assert stat.S_IMODE(desk.home.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in desk.home.path.iterdir()} == {0o600}
