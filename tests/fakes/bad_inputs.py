"""Bad inputs, made from what declares the good ones: the grammar of host.toml, the fields of a recipe, the table of
variables. A key that is added tomorrow gets its bad values without a change here.

Everything is decided by a seed.
"""

import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any

from hostwright import recipe
from hostwright.machine.grammar import Field, Items, Section
from hostwright.machine.load import SCHEMA
from hostwright.tasks import variables

Key = tuple[tuple[str, Section, bool], ...]

# Of each kind of TOML one value; a key takes one or two of the kinds.
KINDS: dict[type, str] = {
    bool: "true",
    int: "-7",
    float: "1.5",
    str: '"\\u001b[2J\\n"',
    list: "[[3]]",
    dict: '{zz = "zz"}',
    type(None): "1979-05-27T07:32:00",
}
# Texts that have broken programs before; a key of free text may take some of them.
HOSTILE = (
    *(
        "",
        " ",
        "..",
        "../../etc/passwd",
        "$(reboot)",
        "`id`",
        "a b",
        "a\nb",
        "\x00",
        "\x1b]0;x\x07",
        "%s%n",
        "{{ x }}",
    ),
    *(
        "-",
        "--",
        "-rf",
        "'",
        '"',
        "\\",
        ";",
        "|",
        "é",
        "\u202e",
        "\U0001f4a5",
        "٣",
        "²",
        "0x",
        "1e9",
        "nan",
        "a" * 5000,
    ),
    *("<script>", "&amp;", "null", "None", "=", "a=b", "#", "/dev/zero", "//", "~", "*", "con", "\ufeff"),
)


def toml(text: str) -> str:
    """A text as a TOML string."""
    return (
        '"' + "".join(one if one.isalnum() and one.isascii() else f"\\U{ord(one):08x}" for one in text) + '"'
    )


def misspell(word: str, dice: random.Random) -> str:
    """`word` with one letter lost, doubled, changed or swapped."""
    at = dice.randrange(len(word))
    ways = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + "zqx"[at % 3] + word[at + 1 :],
        word[: at + 1] + word[at + 1 : at + 2] + word[at:],
    )
    return dice.choice([one for one in ways if one and one != word] or [f"{word}z"])


# host.toml.


def inner(field: Field) -> tuple[Section | None, bool]:
    """The table below a key, and whether it is an array of tables."""
    check = field.check
    if isinstance(check, Section):
        return check, False
    return (
        (check.check, True)
        if isinstance(check, Items) and isinstance(check.check, Section)
        else (None, False)
    )


def all_keys(section: Section | None = None, way: Key = ()) -> Iterator[tuple[Key, str, Field]]:
    """Every key of the grammar that is no table, with the tables above it."""
    for key, field in (section or SCHEMA).fields.items():
        below, is_array = inner(field)
        if below is None:
            yield way, key, field
        else:
            yield from all_keys(below, (*way, (key, below, is_array)))


def page(way: Key, lines: Sequence[str], without: Sequence[str] = ()) -> str:
    """A file with `lines` in the table at `way`, and the required keys of all tables on the way but `without`."""
    text = [*_required(SCHEMA, without if not way else ()), *(lines if not way else ())]
    names: list[str] = []
    for number, (name, section, is_array) in enumerate(way):
        names.append(name)
        is_last = number == len(way) - 1
        text.append(f"[[{'.'.join(names)}]]" if is_array else f"[{'.'.join(names)}]")
        text += [*_required(section, without if is_last else ()), *(lines if is_last else ())]
    return "\n".join(text) + "\n"


def _required(section: Section, without: Sequence[str]) -> list[str]:
    return [field.example for key, field in section.fields.items() if field.required and key not in without]


def example(key: str, field: Field) -> Any:  # noqa: ANN401
    return tomllib.loads(field.example)[key]


def bad_pages(dice: random.Random) -> Iterator[tuple[str, str, str]]:
    """Files that must be refused: a name, the text, and what the message names."""
    for way, key, field in all_keys():
        good = example(key, field)
        name = ".".join([*(one for one, _, _ in way), key])
        for kind, value in KINDS.items():
            if kind is not type(good):
                yield f"{name} = {value}", page(way, [f"{key} = {value}"], [key]), key
            if isinstance(good, list) and kind is not type(good[0]):
                yield f"{name} = [{value}]", page(way, [f"{key} = [{value}]"], [key]), key
        wrong = misspell(key, dice)
        yield f"{wrong} for {name}", page(way, [f"{wrong} = {_toml_of(good)}"], [key]), ""
        if field.required:
            yield f"without {name}", page(way, [], [key]), key
        if isinstance(good, list):
            yield (
                f"{name} twice",
                page(way, [f"{key} = [{_toml_of(good[0])}, {_toml_of(good[0])}]"], [key]),
                key,
            )
    yield from ((f"{name}: an array", f"{page((), [])}[[{name}]]\n", name) for name in _tables(False))
    yield from ((f"{name}: one table", f"{page((), [])}[{name}]\n", name) for name in _tables(True))


def doubtful_pages() -> Iterator[tuple[str, str]]:
    """Files with hostile texts in every key: refused or taken, but never a crash."""
    for way, key, field in all_keys():
        good = example(key, field)
        text = good[0] if isinstance(good, list) else good
        for value in HOSTILE if isinstance(text, str) else ():
            given = f"[{toml(value)}]" if isinstance(good, list) else toml(value)
            yield f"{key} = {value[:20]!r}", page(way, [f"{key} = {given}"], [key])


def _tables(is_array: bool) -> list[str]:
    found = {key: inner(field) for key, field in SCHEMA.fields.items()}
    return [key for key, (below, array) in found.items() if below is not None and array is is_array]


def _toml_of(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_of, value))}]"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else toml(value)
        if isinstance(value, str)
        else str(value)
    )


# Networks: a good file, and changes of one line of it.

NETWORK = """\
name = "net"
[network]
nic = "52:54:00:00:00:01"
address = "192.168.1.10/24"
gateway = "192.168.1.1"
ipv6 = "fd00:1::10/64"
ipv6_gateway = "fe80::1"
[[bond]]
name = "bond0"
nics = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]
mode = "802.3ad"
[[bridge]]
name = "br1"
nic = "bond0"
vlan = 20
address = "dhcp"
[[bridge]]
name = "br2"
nic = "bond0"
[[bridge]]
name = "own"
address = "10.9.0.1/24"
dhcp_range = "10.9.0.100-10.9.0.199"
[[guest]]
name = "g"
memory_mib = 256
mac = "52:54:00:00:00:02"
bridge = "own"
"""


def bad_networks(dice: random.Random, count: int) -> Iterator[tuple[str, str, str]]:
    """Files like NETWORK with one fault: its name, the text, and the key that the message names."""
    for old, new, place in (fault for _ in range(count) for fault in _network_faults(dice)):
        assert NETWORK.count(old) == 1, old
        yield f"{new!r} for {old!r}", NETWORK.replace(old, new), place


def _network_faults(dice: random.Random) -> Iterator[tuple[str, str, str]]:
    octet, far = dice.randrange(2, 255), dice.randrange(2, 192)
    member = f"52:54:00:00:00:0{dice.choice('ab')}"
    yield 'gateway = "192.168.1.1"', f'gateway = "192.168.{far}.{octet}"', "network.gateway"
    yield '"fe80::1"', f'"fd00:{far:x}::{octet:x}"', "network.ipv6_gateway"
    yield "vlan = 20", f"vlan = {dice.choice((0, -1, 4095, 4096, far << 12))}", "bridge[0].vlan"
    yield 'name = "own"', f'name = "{"o" * dice.randrange(16, 40)}"', "bridge[2].name"
    yield 'name = "own"', f'name = "{dice.choice(("br0", "bond0", "br1", "vlan20"))}"', "bridge["
    yield 'nic = "52:54:00:00:00:01"', f'nic = "{member.upper()}"', "network.nic"
    yield "vlan = 20\n", "", "bridge[1].nic"
    yield 'name = "br2"', 'name = "br2"\nvlan = 20', "bridge[1].vlan"
    yield 'name = "br2"', f'name = "br2"\naddress = "192.168.1.{octet}/{dice.randrange(8, 25)}"', "bridge[1]."
    yield 'bridge = "own"', f'bridge = "{misspell("own", dice)}"', "guest[0].bridge"
    yield '"52:54:00:00:00:02"', f'"{member}"', "guest[0].mac"
    yield '"10.9.0.100-10.9.0.199"', f'"10.9.{far}.1-10.9.{far}.{octet}"', "bridge[2].dhcp_range"
    yield '"10.9.0.100-10.9.0.199"', f'"10.9.0.1-10.9.0.{octet}"', "bridge[2].dhcp_range"
    yield '"10.9.0.100-10.9.0.199"', f'"10.9.0.{octet}-10.9.0.{octet - 1}"', "bridge[2].dhcp_range"
    yield 'name = "own"', f'name = "own"\nvlan = {far}', "bridge[2].vlan"
    yield 'name = "own"', 'name = "own"\nipv6 = "auto"', "bridge[2].ipv6"
    yield 'address = "dhcp"', 'address = "dhcp"\nnat = false', "bridge[0].nat"
    yield 'address = "dhcp"', 'dhcp_range = "10.7.0.2-10.7.0.9"', "bridge[0].dhcp_range"
    yield 'address = "10.9.0.1/24"\n', "", "bridge[2].dhcp_range"
    yield 'nic = "52:54:00:00:00:01"\n', "", "network."


# Recipes.

SHA = "0" * 64
GOOD = {
    "name": '"probe"',
    "version": '"1.0"',
    "license": '"MIT"',
    "home": '"x"',
    "source": f'Source("pool/x.orig.tar.xz", "{SHA}")',
    "build": "Make()",
}
WRONG = (
    "3",
    "None",
    'b"x"',
    '["x"]',
    '{"x": 1}',
    "Make",
    "len",
    '("x", 3)',
    "...",
    "nosuch",
    "1 / 0",
    "(",
    '"',
    "\x00",
    "2x",
)


def recipe_text(**given: str) -> str:
    lines = "".join(f"    {key}={value},\n" for key, value in {**GOOD, **given}.items() if value)
    return f'"""probe: a probe."""\n\nfrom hostwright.recipe import *\n\nRECIPE = Recipe(\n{lines})\n'


def bad_recipes(dice: random.Random) -> Iterator[tuple[str, str]]:
    """Recipes that must be refused: every field of a recipe and of what is in it, with values that it cannot have."""
    for field in fields(recipe.Recipe):
        yield from ((f"{field.name}={value!r}", recipe_text(**{field.name: value})) for value in WRONG)
        yield f"{field.name} misspelt", recipe_text(**{misspell(field.name, dice): "()"})
        if field.default is MISSING:
            yield f"without {field.name}", recipe_text(**{field.name: ""})
    for kind in recipe.Build.__args__:
        yield from ((what, recipe_text(build=what)) for what in _bad_values(kind, dice, {}))
    given = {"path": '"pool/x"', "sha256": f'"{SHA}"'}
    yield from ((what, recipe_text(source=what)) for what in _bad_values(recipe.Source, dice, given))


def _bad_values(kind: type, dice: random.Random, needed: dict[str, str]) -> Iterator[str]:
    """Calls of a class of recipes' vocabulary, each with one bad value."""
    for field in fields(kind):
        for value in dice.sample([one for one in WRONG if field.type is not int or one != "3"], 4):
            given = {**needed, field.name: value}
            yield f"{kind.__name__}({', '.join(f'{name}={text}' for name, text in given.items())})"


# Fragments and locks: a good line with a fault.

OPTIONS = ("CONFIG_VFIO=y", "CONFIG_A=m", "# CONFIG_B is not set", 'CONFIG_C="text"', "CONFIG_D=64")


def bad_fragments(dice: random.Random, count: int) -> Iterator[bytes]:
    """Fragments of three lines, of which the second must be refused."""
    faults = (
        lambda line: line.replace("CONFIG_", "CONFIG", 1).replace("# ", ""),
        lambda line: line.replace("# ", "").replace(" is not set", "") + " = y",
        lambda line: (
            line.replace("# ", "").split("=")[0].split(" ")[0]
            + "="
            + dice.choice(("yes", "", "0x", '"', "Y", "-", "²", "1.5"))
        ),
        lambda line: "\t" + line.lstrip("# ") + "\t",
        lambda line: line.lstrip("# ") + " # why",
        lambda line: line.lstrip("# ") + dice.choice(("\x1b[2J", "\x00", "\u2028x", "\u202e")),
        lambda line: line.replace("# ", "").lower(),
        lambda line: "select " + line.lstrip("# "),
    )
    for _ in range(count):
        line = dice.choice(faults)(dice.choice(OPTIONS))
        yield f"# a reason\n{line}\nCONFIG_Z=y\n".encode()
        yield b'# a reason\nCONFIG_A="' + bytes([dice.randrange(0x80, 0xC0)]) + b'"\n'


def bad_locks(dice: random.Random, count: int) -> Iterator[bytes]:
    """Locks of two lines, of which the second must be refused."""
    good = ["zlib", "1.3-1", "pool/main/z/zlib/zlib.deb", "1234", SHA]
    faults = (
        ("A!", "../x", "-x", ""),
        ("", "1 0", "1_0"),
        ("", "/etc/passwd", "pool/../../x", "é"),
        ("", "-1", "1e3", "²", "9" * 4500),
        ("", "0" * 63, "0" * 65, "g" * 64, "A" * 64),
    )
    for _ in range(count):
        words = list(good)
        at = dice.randrange(len(words))
        words[at] = dice.choice(faults[at])
        yield f"{' '.join(good)}\n{' '.join(words)}\n".encode()
        yield (
            f"{' '.join(good)}\n".encode() + bytes(dice.randrange(0x80, 0x100) for _ in range(8)) + b"\xff\n"
        )


# Variables.


def bad_variables(dice: random.Random) -> Iterator[tuple[str, str]]:
    """Variables that must be refused: names that are none, and values with what no value has."""
    for name in variables.TABLE:
        for _ in range(3):
            wrong = misspell(name, dice)
            if wrong not in variables.TABLE:
                yield wrong, "x"
        yield from ((name, value) for value in ("", "\x1b[2J", "a\nb", "\x00"))
        yield name.upper(), "x"
