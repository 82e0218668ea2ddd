"""Kernel options: what the fragments ask for, what the kernel made of it, and why something was dropped.

    kconfig/*.config, host.toml --parse--> requests --merge--> one list --plan_resolve()--> .config
                                              |                                                |
                                              +------------------ compare() -------------------+
                                                                      |
                                 Dropped --plan_explain(), parse_explanations()--> dropped_error()

Everything here is pure: text in, text out. The kernel's own `conf` resolves, and its own Kconfig code, linked
into `kconfig_explain.c`, says which dependency was unmet (Documentation/kbuild/kconfig-language.rst).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from shlex import quote

from hostwright.base import texts
from hostwright.base.errors import UserError

HOST_OPTIONS = "host.toml [kernel] options"

_SYMBOL = r"CONFIG_[A-Za-z0-9_]+"
_VALUE = r'[ymn]|-?[0-9]+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*"'
_SET = re.compile(rf"({_SYMBOL})=({_VALUE})")
_UNSET = re.compile(rf"# ({_SYMBOL}) is not set")
_ALMOST = re.compile(r"\s*(#?)\s*(CONFIG_)?([A-Za-z0-9_]+)\s*(?:(is\s+not\s+set\b\.?)|=\s*(.*?))\s*(?:#.*)?$")


@dataclass(frozen=True)
class Request:
    """One option as a fragment requests it; `wanted` is y, m, n, a number or a quoted string as written."""

    file: str
    line: int
    symbol: str
    wanted: str

    @property
    def where(self) -> str:
        """`kconfig/vfio.config:12`, as editors read it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Dropped(Request):
    """A request that the resolved configuration does not honour."""

    got: str


@dataclass(frozen=True)
class Explanation:
    """Why one symbol has its value: lines for people, in the order in which they were found.

    `exists` is False where no Kconfig file of the kernel defines the symbol.
    """

    symbol: str
    reasons: tuple[str, ...]
    exists: bool = True


def parse_fragment(file: str, text: str) -> list[Request]:
    """The requests of a fragment; UserError names file and line of what is neither option nor comment."""
    requests = []
    for number, line in enumerate(text.split("\n"), 1):
        if request := _parse_line(file, number, line.removesuffix("\r")):
            requests.append(request)
    return requests


def parse_options(options: Sequence[str]) -> list[Request]:
    """The requests of host.toml's `[kernel] options`; their line is the place in that list, from 1."""
    return parse_fragment(HOST_OPTIONS, "\n".join(options))


def _parse_line(file: str, number: int, line: str) -> Request | None:
    if match := _SET.fullmatch(line):
        return Request(file, number, match[1], match[2])
    if match := _UNSET.fullmatch(line):
        return Request(file, number, match[1], "n")
    if not line.strip() or (line.startswith("#") and not _looks_like_option(line)):
        return None
    raise UserError(
        f"{file}:{number}: not a kernel option: {texts.plain(line)}", texts.plain(_nearest_fix(line))
    )


def _looks_like_option(comment: str) -> bool:
    """A comment that was probably meant as an option: `#CONFIG_X is not set`, or `# CONFIG_X=y`."""
    match = _ALMOST.fullmatch(comment)
    return bool(match and match[2])


def _nearest_fix(line: str) -> str:
    match = _ALMOST.fullmatch(line)
    if not match:
        return 'write CONFIG_NAME=y (m, n, a number, "text") or `# CONFIG_NAME is not set`, or a comment'
    comment, _, name, unset, value = match.groups()
    symbol = f"CONFIG_{name.upper() if name.islower() else name}"
    if unset:
        return f"write `# {symbol} is not set`"
    fixed = f"{symbol}={_fix_value(value)}"
    if comment:
        return f"remove the # to ask for `{fixed}`, or delete the line"
    if "#" in line and f"{_fix_value(value)}" == value:
        return f"write `{fixed}` alone, its reason on a line above"
    return f"write `{fixed}`"


def _fix_value(value: str) -> str:
    if re.fullmatch(_VALUE, value):
        return value
    words = {"yes": "y", "true": "y", "module": "m", "no": "n", "false": "n", "": "n"}
    plain = value.strip("\"'").lower()
    if plain in ("y", "m", "n"):
        return plain
    return words.get(plain) or '"' + value.strip("\"'").replace('"', '\\"') + '"'


def merge(fragments: Iterable[Sequence[Request]]) -> list[Request]:
    """All requests, each symbol once; UserError names both places where two of them disagree."""
    first: dict[str, Request] = {}
    for request in (request for fragment in fragments for request in fragment):
        other = first.setdefault(request.symbol, request)
        if not _same(other.wanted, request.wanted):
            raise UserError(
                f"{other.where} requests {request.symbol}={other.wanted},"
                f" {request.where} for {request.symbol}={request.wanted}",
                "keep one of the two lines",
            )
    return list(first.values())


def render_requests(requests: Iterable[Request]) -> str:
    """The requests in the form of a .config, to be appended to a base configuration."""
    return "".join(f"{_config_line(request.symbol, request.wanted)}\n" for request in requests)


def _config_line(symbol: str, value: str) -> str:
    return f"# {symbol} is not set" if value == "n" else f"{symbol}={value}"


def parse_config(text: str) -> dict[str, str]:
    """The symbols of a resolved .config with their values; `is not set` reads as n."""
    values = {}
    for line in text.splitlines():
        if match := _UNSET.fullmatch(line):
            values[match[1]] = "n"
        elif line.startswith("CONFIG_"):
            symbol, _, value = line.partition("=")
            values[symbol] = value
    return values


def compare(requests: Iterable[Request], resolved: Mapping[str, str]) -> list[Dropped]:
    """The requests that did not survive. A symbol that is absent from .config equals n."""
    return [
        Dropped(request.file, request.line, request.symbol, request.wanted, got)
        for request in requests
        if not _same(request.wanted, got := resolved.get(request.symbol, "n"))
    ]


def doubtful(requests: Iterable[Request], resolved: Mapping[str, str]) -> list[Dropped]:
    """What `plan_explain` should look at: what was dropped, and every n whose symbol .config does not show.

    The latter are mostly hidden by an option that is off, but a misspelt name looks the same.
    """
    requests = list(requests)
    unseen = [r for r in requests if r.wanted == "n" and r.symbol not in resolved]
    return compare(requests, resolved) + [Dropped(r.file, r.line, r.symbol, "n", "n") for r in unseen]


def failures(doubts: Iterable[Dropped], explanations: Mapping[str, Explanation]) -> list[Dropped]:
    """The doubts that are mistakes: a value that was not honoured, or a name unknown to this kernel."""
    return [d for d in doubts if not _same(d.wanted, d.got) or _is_unknown(explanations.get(d.symbol))]


def _is_unknown(explanation: Explanation | None) -> bool:
    return explanation is not None and not explanation.exists


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return int(one, 0) == int(other, 0)
    except ValueError:
        return False


def render_option_report(requests: Sequence[Request], resolved: Mapping[str, str]) -> str:
    """A table of every request with its result: symbol, wanted, got, place."""
    rows = [("option", "wanted", "got", "requested in")]
    rows += [(r.symbol, r.wanted, resolved.get(r.symbol, "n"), r.where) for r in requests]
    option, wanted, got = (max(len(row[column]) for row in rows) for column in range(3))
    return "".join(f"{row[0]:{option}}  {row[1]:{wanted}}  {row[2]:{got}}  {row[3]}\n" for row in rows)


def render_option_json(requests: Sequence[Request], resolved: Mapping[str, str]) -> str:
    """The same as a JSON list of objects with file, line, symbol, wanted, got and kept."""
    rows = []
    for request in requests:
        got = resolved.get(request.symbol, "n")
        rows.append({**asdict(request), "got": got, "kept": _same(request.wanted, got)})
    return json.dumps(rows, indent=1) + "\n"


def drift(resolved: str, golden: str) -> str:
    """How a resolved .config differs from the committed one, in `-` and `+` lines; empty when it does not.

    A symbol that only one of them knows counts even as "is not set": the kernel's sources have changed.
    """
    new, old = parse_config(resolved), parse_config(golden)
    lines = []
    for symbol in sorted(new.keys() | old.keys()):
        if new.get(symbol) != old.get(symbol):
            lines += [f"-{_config_line(symbol, old[symbol])}"] if symbol in old else []
            lines += [f"+{_config_line(symbol, new[symbol])}"] if symbol in new else []
    return "".join(f"{line}\n" for line in lines)


# What follows runs in the sandbox: the kernel's source in /build/src, its objects in /build/obj.

_MAKE = "make -s -C /build/src O=/build/obj ARCH=x86"
_OBJECTS = ("confdata", "expr", "lexer.lex", "menu", "parser.tab", "preprocess", "symbol", "util")


def plan_resolve(base: str, requests: str) -> str:
    """Shell text: `base` (a defconfig's name) with the file `requests` on top becomes /build/obj/.config.

    The last value of a symbol wins in the kernel's `conf`, in choices too, so appending is enough.
    """
    return f"{_MAKE} {quote(base)}\ncat {quote(requests)} >> /build/obj/.config\n{_MAKE} olddefconfig\n"


def plan_explain(doubts: Sequence[Dropped], source: str, output: str) -> str:
    """Shell text: compile `source` (kconfig_explain.c) with the kernel's Kconfig code, run it into `output`.

    To be run after `plan_resolve`. Kconfig needs the environment that the kernel's make sets up: a Kconfig
    file that only calls the program runs it in just that environment, and `listnewconfig` writes nothing.
    """
    include = "-I /build/src/scripts/kconfig -I /build/src/scripts/include"
    objects = " ".join(f"/build/obj/scripts/kconfig/{name}.o" for name in _OBJECTS)
    wanted = " ".join(f"{d.symbol.removeprefix('CONFIG_')}={_plain(d.wanted)}" for d in doubts)
    call = f"/build/kconfig_explain Kconfig {wanted} > {output}"
    return (
        f"gcc -O1 {include} -o /build/kconfig_explain {quote(source)} {objects}\n"
        f"echo 'unused := $(shell,{call})' > /build/explain.Kconfig\n"
        f"{_MAKE} KBUILD_KCONFIG=/build/explain.Kconfig listnewconfig > /dev/null\n"
    )


def _plain(value: str) -> str:
    """A value that neither the shell nor Kconfig's macro language can trip over; only its kind matters."""
    return value if re.fullmatch(r"[A-Za-z0-9-]+", value) else "text"


def parse_explanations(output: str) -> dict[str, Explanation]:
    """What kconfig_explain printed, by symbol: tab-separated records, one a line."""
    reasons: dict[str, list[str]] = {}
    unknown = set()
    for line in output.splitlines():
        kind, name, *rest = line.split("\t")
        symbol = f"CONFIG_{name}"
        reasons.setdefault(symbol, []).append(_reason(kind, rest))
        if kind == "unknown":
            unknown.add(symbol)
    return {name: Explanation(name, tuple(lines), name not in unknown) for name, lines in reasons.items()}


def _reason(kind: str, fields: Sequence[str]) -> str:
    if kind == "unmet" and re.fullmatch(r"\w+", fields[0]):
        return f"unmet dependency: CONFIG_{fields[0]} is {fields[1]}"
    return _REASONS[kind].format(*fields)


_REASONS = {
    "unknown": "this kernel has no such option; the nearest name is CONFIG_{0}",
    "unmet": "unmet dependency: {0} (= {1})",
    "leaf": "    CONFIG_{0} is {1}",
    "noprompt": "it cannot be set by hand: other options select it ({0})",
    "choice": 'it is one of the choice "{0}", where CONFIG_{1} was taken',
    "selected": "CONFIG_{0} is {1} and selects it",
    "range": "it must be from {0} to {1}",
    "bool": "it is built in or left out, never a module",
    "default": "it follows its default {0}",
}


def dropped_error(dropped: Sequence[Dropped], explanations: Mapping[str, Explanation]) -> UserError:
    """The error for requests that did not survive: for each file, line, wanted, got and the reasons."""
    blocks = []
    for drop in dropped:
        reasons = explanations[drop.symbol].reasons if drop.symbol in explanations else ()
        got = f", got {drop.got}" if drop.got != drop.wanted else ""
        head = f"{drop.where}: {drop.symbol}: wanted {drop.wanted}{got}"
        blocks.append("\n".join([head, *(f"    {reason}" for reason in reasons)]))
    return UserError("\n".join(blocks), "ask for what is unmet in a fragment as well, or change the line")
