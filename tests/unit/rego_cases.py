"""Calls of host built-ins drawn from a seed: ordinary ones, and those at the corners where implementations differ."""

from __future__ import annotations

from random import Random

from zt_engine.adapters.rego_values import ExactNumber, RegoSet, Value, key_of, value_of

Call = tuple[str, list[Value]]

_NUMBERS: tuple[Value, ...] = (
    *(0, 1, -1, 42, 255, -42, 2**63 - 1, -(2**63), 2**64, -(2**70), 1234567),
    *map(
        ExactNumber, ("1.5", "-0.25", "1e3", "1.0", "2.50", "1e-7", "123456789.125", "0.1", "1e21", "1e400", "5e-324")
    ),
)
_ZONES = (
    "",
    "UTC",
    "Asia/Tokyo",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Not/A",
)
_LAYOUTS = (
    *(
        "",
        "RFC3339",
        "RFC3339Nano",
        "ANSIC",
        "UnixDate",
        "RubyDate",
        "RFC822",
        "RFC822Z",
        "RFC850",
        "RFC1123",
        "RFC1123Z",
    ),
    *("2006-01-02", "02/01/06 3:04PM", "Monday January _2 15:04:05.000 MST 2006", "__2 002 _2006 pm", "15h04 20060102"),
    *("Jan-07:00:00Z07:00:00Z070000 .999 ,000", "Janx Mons Month 1 2 3 4 5 06", "Z0700 -0700 -07 Z07", "2006.0000 ,99"),
)
_URIS = (
    ("https", "ftp", "a+b", "1a", "", "mailto", "HTTP"),
    ("://", ":", "//", ":/"),
    ("", "u@", "u:p@", "a@b@", "u é@"),
    ("h.example", "[::1]", "[fe80::1%25en0]", "[::1", "h%20x", "h%c3%a9", "a:b", "", "[1.2.3.4]", "h x"),
    ("", ":80", ":", ":8a", ":80:90"),
    ("", "/", "/a/b", "/a%2fb", "/a b", "/%zz", "/é", "//x", "a:b", "/(x)'!*"),
    ("", "?", "?a=b", "?a?b"),
    ("", "#", "#f%41", "#f%zz", "#a#b", "\x7f"),
)
_ADDRESSES = (
    "10.0.0.0",
    "10.0.1.5",
    "192.168.1.1",
    "224.0.0.1",
    "::1",
    "2001:db8::",
    "::ffff:1.2.3.4",
    "1.2.3.04",
    "a",
)
_PREFIXES = ("", "/8", "/24", "/25", "/32", "/33", "/0", "/64", "/128", "/-1", "/08", "/120")
_ATOMS = (
    "a",
    "b",
    ".",
    "é",
    "^",
    "$",
    "\\b",
    "\\B",
    "\\d",
    "[ab]",
    "[^a]",
    "\\pL",
    "(?i)A",
    "",
    "x*",
    "\\x{65e5}",
    "a{1,2}",
)


class Draw:
    """Draws calls; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def one(self, *choices: Value) -> Value:
        return self.random.choice(choices)

    def text(self, alphabet: str = "ab,é日. ", most: int = 8) -> str:
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randrange(most)))

    def value(self, depth: int = 2) -> Value:
        kind = self.random.randrange(8 if depth else 5)
        if kind < 5:
            return self.one(None, True, False, self.random.choice(_NUMBERS[:12]), self.text(most=3), "a")
        items = [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == 5:
            return items
        return RegoSet(items) if kind == 6 else {key_of(self.one("a", "b", "0", item)): item for item in items}

    def strings(self) -> Call:
        some = [self.text(most=4) for _ in range(self.random.randrange(3))]
        many = self.one(self.text(most=4), some, RegoSet(some), [1])
        count = self.one(0, 1, 2, -1, -2, 100, ExactNumber("2.0"), ExactNumber("1.5"))
        return self.random.choice(
            [
                ("indexof_n", [self.text(), self.text(most=3)]),
                ("strings.count", [self.text(), self.text(most=3)]),
                ("strings.split_n", [self.text(), self.text(most=2), count]),
                ("strings.any_prefix_match", [many, self.one(self.text(most=3), some)]),
                ("strings.any_suffix_match", [self.one(self.text(most=3), some), many]),
                ("glob.quote_meta", [self.text("a*?[]{}\\!-,")]),
            ]
        )

    def sprintf(self) -> Call:
        template = ""
        for _ in range(self.random.randrange(1, 4)):
            flags = "".join(self.random.choice("+-# 0") for _ in range(self.random.randrange(3)))
            parts = (["", "x", "é%%"], ["%"], [flags], ["", "[1]", "[2]", "[9]", "["], ["", "", "5", "12", "*"])
            parts += (["", "", ".2", ".0", ".", ".*"], [*"vvddssqxXobOcUtTeEfFgGz", "é", ""])
            template += "".join(self.random.choice(part) for part in parts)
        arguments = [
            self.one(self.random.choice(_NUMBERS), self.value(1), 'q"\n') for _ in range(self.random.randrange(4))
        ]
        return "sprintf", [template, arguments]

    def times(self) -> Call:
        draw = self.random.randrange
        instant = self.one(
            0, -1, 1700000000123456789, draw(-(2**63), 2**63), draw(10**18, 2 * 10**18), ExactNumber("1.7e18")
        )
        layout, zone = self.random.choice(_LAYOUTS), self.random.choice(_ZONES)
        part = self.random.choice(["time.date", "time.clock", "time.weekday"])
        stamp = f"20{draw(100):02d}-{draw(14):02d}-{draw(33):02d}T{draw(25):02d}:00:0{self.one('0', '1.5', '1,5')}"
        steps: list[Value] = [draw(-50, 50), draw(-50, 50), draw(-5000, 5000)]
        return self.random.choice(
            [
                ("time.format", [[instant, zone, layout]]),
                (part, [self.one(instant, [instant, zone])]),
                ("time.add_date", [[instant, zone], *steps]),
                ("time.diff", [[instant, zone], draw(10**18, 2 * 10**18)]),
                ("time.parse_rfc3339_ns", [stamp + str(self.one("Z", "+09:00", "-25:00", "", "z"))]),
                ("time.parse_duration_ns", [self.duration()]),
            ]
        )

    def duration(self) -> str:
        numbers = ("", "1", "0", "1.5", ".5", "1.", "999999999999", "3.123456789123456789")
        units = ("h", "m", "s", "ms", "us", "µs", "ns", "d", "w", "y", "", "x")
        parts = [self.random.choice(numbers) + self.random.choice(units) for _ in range(self.random.randrange(1, 4))]
        return str(self.one("", "-", "+", "")) + "".join(parts)

    def formats(self) -> Call:
        number = self.one("1", "1.5", ".5", "", "1e3", "1E-2", "1e", "12345678901234567890", "007", "-3.25")
        unit = self.one("", "m", "k", "K", "M", "ki", "Ki", "KI", "Mi", "e", "Ei", "eb", "kb", "KiB", "b", "x", " K")
        suffix = self.one("", "-a.1", "-1", "-a..b", "+x")
        version = f"{self.one('', 'v')}{self.one(1, '01', '')}.{self.one(0, 'a')}.0{suffix}"
        other = f"1.0.{self.one(0, 1)}{self.one('', '-a', '-beta.2', '-1')}"
        digits = "".join(self.random.choice("0123456789abcdef") for _ in range(32))
        digits = digits[:12] + str(self.one(1, 2, 4)) + digits[13:]
        hyphened = "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
        uri = "".join(self.random.choice(part) for part in _URIS)
        return self.random.choice(
            [
                (str(self.one("units.parse", "units.parse_bytes")), [f"{number}{unit}"]),
                ("semver.compare", [version, other]),
                ("semver.is_valid", [self.one(version, 1)]),
                (
                    "uuid.parse",
                    [self.one(digits, hyphened, "urn:uuid:" + hyphened, "{" + hyphened + "}", hyphened[:-1])],
                ),
                (str(self.one("uri.parse", "uri.is_valid")), [uri]),
                ("hex.decode", [self.text("012345678", 7)]),
                (str(self.one("hex.encode", "urlquery.encode", "base64url.encode_no_pad")), [self.text('aé&=+ %/~"')]),
                (str(self.one("urlquery.decode", "urlquery.decode_object")), [self.text("a1=&;+%24", 10)]),
                (
                    "urlquery.encode_object",
                    [{self.text(): self.one(self.text(), ["x", self.text()], RegoSet(["b", "a"]), 1)}],
                ),
                (str(self.one("crypto.md5", "crypto.sha1", "crypto.sha256")), [self.text()]),
                (f"crypto.hmac.{self.one('md5', 'sha1', 'sha256', 'sha512', 'equal')}", [self.text(), self.text()]),
                ("numbers.range_step", [self.one(0, 1, -3, ExactNumber("1e1")), self.one(0, 5, -7), self.one(1, 2, 0)]),
            ]
        )

    def cidr(self) -> str:
        return self.random.choice(_ADDRESSES) + self.random.choice(_PREFIXES)

    def net(self) -> Call:
        some = self.one(self.cidr(), [self.cidr(), [self.cidr(), 1]], RegoSet([self.cidr()]), {"a": self.cidr()}, [[]])
        near: list[Value] = [f"10.0.{self.one(0, 1)}.0/{self.random.randrange(20, 33)}" for _ in range(5)]
        return self.random.choice(
            [
                ("net.cidr_is_valid", [self.cidr()]),
                ("net.cidr_merge", [self.one([self.cidr(), self.cidr()], near)]),
                ("net.cidr_contains_matches", [some, self.one(self.cidr(), [self.cidr()])]),
                ("net.cidr_expand", [f"10.0.0.{self.random.randrange(256)}/{self.one(28, 31, 32)}"]),
            ]
        )

    def pattern(self, depth: int = 2) -> str:
        found = self.random.choice(_ATOMS)
        for _ in range(self.random.randrange(3)):
            tail = self.random.choice(
                ["b", "*", "+", "?", "*?", "|b", "(", "\\1"] if self.random.random() < 0.5 else ["b"]
            )
            found = f"({found})" if self.random.random() < 0.3 else found + tail
        return found + self.pattern(depth - 1) if depth and self.random.random() < 0.3 else found

    def regex(self) -> Call:
        text = self.text("ab é日.A\n", 9)
        value = "".join(str(self.one("", "x", "$1", "${1}", "$$", "$0", "$1x", "${x", "$é", "\\1")) for _ in range(2))
        return self.random.choice(
            [
                ("regex.find_n", [self.pattern(), text, self.one(-1, -1, 0, 1, 2)]),
                ("regex.split", [self.pattern(), text]),
                ("regex.replace", [text, self.pattern(), value]),
                ("regex.globs_match", [self.glob(), self.glob()]),
            ]
        )

    def glob(self) -> str:
        atoms = ("a", "b", ".", "[a-b]", "[a]", "[b-c]", "\\*", "é")
        flags = ("", "", "*", "+")
        parts = [self.random.choice(atoms) + self.random.choice(flags) for _ in range(self.random.randrange(4))]
        return "".join(parts) + str(self.one("", "", "", "[", "\\", "+*", "[b-a]"))

    def structures(self) -> Call:
        value = self.value(3)
        options = {
            key: item for key, item in (("indent", "--"), ("prefix", "> "), ("pretty", True)) if self.one(True, False)
        }
        edges = {
            str(n): self.one([str(n + 1), "0"], RegoSet(["1", "2"]), [], None) for n in range(self.random.randrange(4))
        }
        return self.random.choice(
            [
                ("object.subset", [value, self.one(value, self.value(2), self.part(value))]),
                ("json.marshal_with_options", [value, {**options}]),
                ("graph.reachable_paths", [{**edges}, self.one(["0"], RegoSet(["0", "1"]), "0")]),
            ]
        )

    def part(self, value: Value) -> Value:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if self.one(True, False)}
        return value[1:] if isinstance(value, list) else value

    def patch(self) -> Call:
        """Edits of flat documents: on nested ones OPA itself panics or loses its place, and RFC 6902 decides."""
        target = self.one({"a": 1, "b": [1, 2, 3], "c": "x"}, {"a": [1, 2], "d": {"x": 1}}, [1, "a", None])
        names = list(target) if isinstance(target, dict) else ["0", "1", "3"]
        path = "/" + str(value_of(self.random.choice(names))) + str(self.one("", "", "/0", "/-", "/x", "/01"))
        source = "/" + str(value_of(self.random.choice(names)))
        operation = self.one("add", "remove", "replace", "copy", "test", "bad")
        return "json.patch", [target, [{"op": operation, "path": path, "from": source, "value": self.one(1, [1], "x")}]]

    def calls(self, count: int) -> list[Call]:
        """So many calls of each family."""
        families = [
            self.strings,
            self.sprintf,
            self.times,
            self.formats,
            self.net,
            self.regex,
            self.structures,
            self.patch,
        ]
        return [family() for family in families for _ in range(count)]
