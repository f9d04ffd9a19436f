"""The made-up site that every benchmark asks about, from one seed: people, their devices, what they open and how often.

Nothing here touches a key, a clock or a file: `site.py` makes a running installation of it.
"""

from __future__ import annotations

import random
from array import array
from itertools import accumulate

import msgspec

SEED = 20261122
HOT_PEOPLE = 200
KEYS_THROUGH_A_PROXY = 50
"""So few that the slowest of the proxies, at the 430 requests a second of its slowest round, still asks for each some
forty times a tick; the same for every proxy and for whoever it asks. A warm run is one in which 95 % are remembered,
and it prints how many were."""
SITE_PEOPLE = 10_000
PATHS_PER_PERSON = 10
"""Hot set: 200 people on their own devices, each with ten paths: 2,000 keys. Whole site: 100,000 keys."""

ZIPF_EXPONENT = 1.0
REPORT_SECONDS = 810
"""A device reports every 12 to 15 minutes."""
SIGN_IN_SECONDS = 900
"""A person gets a new access token every quarter of an hour."""
DIRECTORY_CHANGES_PER_DAY = 0.01
"""Share of the people whose directory record changes on a working day (moves, projects, roles)."""
WORKING_DAY = 8 * 3600

FACTS: dict[str, object] = {
    "boot.measured": {"value": True, "method": "attested"},
    "boot.secure_boot": True,
    "device.key_protection": {"value": "attested_hw", "method": "attested"},
    "disk.encrypted": {"value": True, "method": "mdm_server"},
    "edr.running": True,
    "av.realtime": True,
    "firewall.enabled": True,
    "integrity.rooted": False,
    "mdm.enrolled": {"value": True, "method": "mdm_server"},
    "os.supported": True,
    "patch.oldest_pending_days": 3,
    "screenlock.enabled": True,
    "user.is_admin": False,
    "vuln.kev_open": [],
    "vuln.kev_overdue": [],
}

CLIENT_HEADERS = (
    ("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "ja,en-US;q=0.9,en;q=0.8"),
    ("Accept-Encoding", "gzip, deflate"),
)  # fmt: skip
"""What a browser sends and a proxy hands on."""


class Target(msgspec.Struct, frozen=True):
    """One thing a person opens."""

    service: str
    host: str
    path: str


class Person(msgspec.Struct, frozen=True):
    """A made-up official with a laptop."""

    id: str
    device_id: str
    address: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    compartments: tuple[str, ...]
    org: str
    facts: dict[str, object]
    report_age: int
    targets: tuple[Target, ...]


class Key(msgspec.Struct, frozen=True):
    """One cache key: a person (by number) on a device, and one of their targets."""

    person: int
    target: Target


def people(count: int, *, seed: int = SEED) -> list[Person]:
    """Return the first `count` officials of the site; the first ones are the same for every count."""
    draw = random.Random(seed)
    return [_person(number, draw) for number in range(count)]


def _person(number: int, draw: random.Random) -> Person:
    section, project, first = number // 12, draw.randrange(400), draw.randrange(100_000)
    cases = [f"{first + offset}" for offset in range(3)]
    unit = f"s{section:04d}"
    facts = {**FACTS, "patch.oldest_pending_days": draw.randrange(12)}
    return Person(
        id=f"u{number:05d}",
        device_id=f"laptop-{number:05d}",
        address=f"192.0.2.{draw.randrange(1, 255)}" if draw.random() < 0.5 else f"203.0.113.{draw.randrange(1, 255)}",
        groups=("staff", f"section-{unit}", *(f"list-{draw.randrange(300):03d}" for _ in range(8))),
        roles=("iims.author", "iims.section", "iims.staff"),
        compartments=(*(f"case:{case}" for case in cases), f"section:{unit}", f"site:{unit}", f"project:p{project}"),
        org=f"ministry/{unit}",
        facts=facts,
        report_age=draw.randrange(REPORT_SECONDS),
        targets=_targets(unit, project, cases, draw),
    )


def _targets(unit: str, project: int, cases: list[str], draw: random.Random) -> tuple[Target, ...]:
    paper = draw.randrange(10_000)
    return (
        Target("portal", "portal.ministry.example", "/"),
        Target("portal", "portal.ministry.example", f"/cases/{cases[0]}"),
        Target("portal", "portal.ministry.example", f"/cases/{cases[1]}"),
        Target("portal", "portal.ministry.example", f"/cases/{cases[2]}/files/report-{paper}.pdf"),
        Target("portal", "portal.ministry.example", f"/projects/p{project}/plan"),
        Target("iims", "iims.ministry.example", f"/sections/{unit}/drafts/{paper}"),
        Target("iims", "iims.ministry.example", f"/sections/{unit}/records/{paper + 1}"),
        Target("open_share", "share.ministry.example", f"/sites/{unit}/minutes/{paper}"),
        Target("directory", "directory.ministry.example", f"/entries/{paper}"),
        Target("teams", "teams.ministry.example", f"/shared/{unit}/notes"),
    )


def keys(persons: list[Person], *, seed: int = SEED) -> list[Key]:
    """Return every key of these people, in an order without pattern."""
    found = [Key(number, target) for number, person in enumerate(persons) for target in person.targets]
    random.Random(seed).shuffle(found)
    return found


def zipf(ranks: int, draws: int, *, exponent: float = ZIPF_EXPONENT, seed: int = SEED) -> array[int]:
    """Return `draws` numbers below `ranks`: number r comes with a frequency proportional to 1 / (r + 1) ** exponent."""
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(ranks)))
    return array("I", random.Random(seed).choices(range(ranks), cum_weights=weights, k=draws))


def new_tokens(persons: int, seconds: float) -> int:
    """How many of this many people come with a token that was never seen before, within so many seconds."""
    return min(persons, round(persons * seconds / SIGN_IN_SECONDS))


def reports_per_second(persons: int) -> float:
    """How many device reports reach a site of this many people each second."""
    return persons / REPORT_SECONDS


def directory_changes_per_second(persons: int) -> float:
    """How many directory records of a site of this many people change each second of a working day."""
    return persons * DIRECTORY_CHANGES_PER_DAY / WORKING_DAY


def catalogue_text(services: int, routes: int) -> str:
    """Return a catalogue of so many systems with so many routes each, of the shapes that real ones have."""
    lines = [
        "catalogue: 1", "scheme: benchmark",
        "labels: {C1: {rank: 100, ja: 一, en: One}, C2: {rank: 200, ja: 二, en: Two}}", "services:",
    ]  # fmt: skip
    for service in range(services):
        lines += [
            f"  system{service:03d}:", f"    title: {{ja: 業務{service}, en: System {service}}}",
            "    owner: benchmark", "    review_at: 2030-01-01", f"    hosts: [system{service:03d}.ministry.example]",
            "    channels: [open]", "    ceiling: C2", "    label: C1", "    routes:",
        ]  # fmt: skip
        lines += [f"      - {_route(number)}" for number in range(routes)]
    return "\n".join(lines) + "\n"


def _route(number: int) -> str:
    shape, name = number % 4, f"area{number // 4:03d}"
    if shape == 0:
        return f"{{path: /{name}, methods: [GET, POST]}}"
    if shape == 1:
        return f'{{path: "/{name}/items/{{item}}", methods: [GET, PUT], label: C2}}'
    if shape == 2:
        return f'{{path: "/{name}/items/{{item}}/files/*", methods: [GET], label: C2, compartments: ["item:{{item}}"]}}'
    return f'{{path: "/{name}/reports/{{year}}/{{month}}", methods: [GET]}}'


def route_requests(services: int, routes: int, count: int, *, seed: int = SEED) -> list[tuple[str, str, str]]:
    """Return host, method and path of requests for routes of such a catalogue."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        number = draw.randrange(routes)
        name, item = f"area{number // 4:03d}", draw.randrange(9999)
        paths = (
            f"/{name}", f"/{name}/items/{item}", f"/{name}/items/{item}/files/2026/a.pdf",
            f"/{name}/reports/2026/{draw.randrange(1, 13):02d}",
        )  # fmt: skip
        found.append((f"system{draw.randrange(services):03d}.ministry.example", "GET", paths[number % 4]))
    return found
