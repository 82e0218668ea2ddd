"""The variables of the command line, `name=value`: all of them in one table, and checked before anything runs.

name=value --check_given--> known, well-formed --check_use--> used by a task of this run --text, flag, number--> act
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from doit import doit_cmd, get_var

from hostwright.base import texts
from hostwright.base.address import Address
from hostwright.base.errors import UserError
from hostwright.machine import grammar, values, words


@dataclass(frozen=True)
class Variable:
    """`form` is how a value is written; `tasks` use it, no names meaning every task. `check` raises BadValueError."""

    name: str
    form: str
    tasks: tuple[str, ...]
    meaning: str
    check: Callable[[str], object]
    default: str = ""


def _word(value: str) -> str:
    return grammar.line(value)


def _place(value: str) -> str:
    if not Path(_word(value)).exists():
        raise grammar.BadValueError(f"there is no file {value}", "correct the path")
    return value


def _file(value: str) -> str:
    if not Path(_place(value)).is_file():
        raise grammar.BadValueError("is not a file", "give the path of a file")
    return value


def _address(value: str) -> str:
    """In full. A capture may have domains that host.toml cannot: Intel's VMD."""
    try:
        return str(Address.parse(value.lower()))
    except ValueError as error:
        hint = 'write it as lspci -D shows it, "0000:82:00.0" or "82:00.0"'
        raise grammar.BadValueError(str(error), hint) from None


def _choice(*known: str) -> Callable[[str], str]:
    return grammar.one_of(*known)


def _number(least: int, most: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise grammar.BadValueError("not a number", f"write it in digits, from {least} to {most}")
        return int(grammar.integer(least, most)(int(value)))

    return check


def _series(value: str) -> object:
    from hostwright.pci import isolation

    return grammar.one_of(*isolation.SERIES)(value)


def _override(value: str) -> object:
    return values.acs_override([word for word in value.split(",") if word])


def _recipe(value: str) -> str:
    from hostwright.build import recipes

    try:
        return str(recipes.load_recipe(value).name)
    except UserError as error:
        raise grammar.BadValueError(error.message, error.hint) from None


def _victims(value: str) -> list[str]:
    from hostwright.torture import victims

    return [str(grammar.one_of(*victims.ALL)(word)) for word in value.split(",")]


_host = grammar.matching(
    r"[A-Za-z0-9][A-Za-z0-9.:%_-]*", "not a host name or address", "write it as in host=192.168.1.10"
)
_package = grammar.matching(r"[a-z0-9][a-z0-9+.-]+", "not the name of a package", "write it as in name=zlib")
_paths = grammar.matching(
    r"/[^,\s]+(,/[^,\s]+)*",
    "not absolute paths",
    "write them with commas between, as in keep=/etc/hosts,/root/notes",
)
_SHOWN = ("groups", "doctor")
_GUESTS = ("guest", "guest-fast")
_SEEDED = ("prove-groups", "prove-update", "torture")
_is_yes = _choice("no", "yes")
_proofs = _choice("all", "way")
VARIABLES = (
    Variable("machine", "FILE", (), "the file that describes the machine; `host.toml` by default", _word),
    Variable("offline", "yes", _GUESTS, "take all packages of the guest from the cache", _is_yes, "no"),
    Variable("vnc", "tcp", _GUESTS, "show the screen on loopback, with a password", _choice("unix", "tcp"), "unix"),
    Variable("capture", "FILE", _SHOWN, "read another machine, from its capture", _place),
    Variable("device", "ADDRESS", _SHOWN, "look at one device", _address),
    Variable("json", "yes", _SHOWN, "print JSON", _is_yes, "no"),
    Variable("config_acs", "VALUE", _SHOWN, "predict with this value of `pci=config_acs=`", words.config_acs),
    Variable("override", "WORDS", ("groups",), "predict with these words of `pcie_acs_override=`", _override),
    Variable("disable_acs_redir", "VALUE", ("groups",), "the same of `pci=disable_acs_redir=`", words.pci_devices),
    Variable("series", "SERIES", ("groups", "prove-groups"), "the kernel's series, as in `6.12`", _series),
    Variable("n", "NUMBER", ("prove-groups",), "how many random topologies", _number(1, 1_000_000), "20"),
    Variable("kills", "NUMBER", ("torture",), "how many runs are killed", _number(0, 100_000), "20"),
    Variable("pairs", "NUMBER", ("torture",), "how many runs get two signals", _number(0, 100_000), "5"),
    Variable("what", "RUNS", ("torture",), "which of build,fetch,image,proof,install", _victims, "build,fetch,image"),
    Variable("flips", "NUMBER", ("torture",), "how many cached files get a flipped bit", _number(0, 100_000), "30"),
    Variable("cuts", "NUMBER", ("prove-update",), "how often the power goes", _number(0, 100_000), "40"),
    Variable("seed", "NUMBER", _SEEDED, "where random numbers begin", _number(0, 999_999_999), "1"),
    Variable("kernel", "FILE", ("prove-groups",), "a bzImage that you have built", _file),
    Variable("host", "ADDRESS", ("update",), "the host to update, as ssh knows it", _host),
    Variable("key", "FILE", ("sign", "update"), "the ssh key that signs", _file),
    Variable("keep", "PATHS", ("update",), "which edits of the host's slot are taken along", _paths),
    Variable("discard", "yes", ("update",), "leave the other edits of the host's slot behind", _is_yes, "no"),
    Variable("proof", "way", ("update",), "prove the way of this host alone", _proofs, "all"),
    Variable("reboot", "no", ("update",), "leave the time of the restart to you", _choice("yes", "no"), "yes"),
    Variable("repair", "yes", ("verify",), "set what is damaged in the cache aside", _is_yes, "no"),
    Variable("package", "NAME", ("shell",), "the package whose build is opened", _recipe),
    Variable("name", "NAME", ("add",), "the source package, if not named as `./doit add NAME`", _package),
    Variable("as", "NAME", ("add",), "what the recipe is called, if not as its source package", _package),
)  # fmt: skip
TABLE = {variable.name: variable for variable in VARIABLES}


def given() -> dict[str, str]:
    """The variables of this command line."""
    return dict(doit_cmd._CMDLINE_VARS or {})


def check_once(argv: Sequence[str]) -> None:
    """Raise UserError for a variable that the command line names twice: doit takes the last in silence."""
    names = [word.partition("=")[0] for word in argv if re.match(r"[A-Za-z_]\w*=", word)]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UserError(f"{texts.plain(twice)}= is there twice", "leave one of the two out")


def check_given(named: dict[str, str]) -> None:
    """Raise UserError for a variable that is not in the table, and for a value that it cannot have."""
    for name, value in named.items():
        if name not in TABLE:
            near = difflib.get_close_matches(name[:100].lower(), TABLE, n=1)
            question = f"did you mean {near[0]}=? " if near else ""
            hint = f"{question}known are {', '.join(f'{one}=' for one in TABLE)}"
            raise UserError(f"{texts.plain(name)}={texts.plain(value)}: there is no such variable", hint)
        if not value:
            raise UserError(f"{name}=: the value is missing", f"write {_form(TABLE[name])}, or leave it out")
        try:
            TABLE[name].check(value)
        except grammar.BadValueError as error:
            hint = error.hint or f"write {_form(TABLE[name])}, or leave it out"
            raise UserError(f"{name}={texts.plain(value)}: {error.what}", hint) from None


def _form(variable: Variable) -> str:
    return f"{variable.name}={variable.form}"


def check_use(names: Iterable[str], tasks: Iterable[str], what: str) -> None:
    """Raise UserError for a variable that none of the `tasks` uses; `what` says in a message which tasks these are."""
    here = {task.split(":")[0] for task in tasks}
    for name in names:
        users = TABLE[name].tasks
        if users and not here & set(users):
            hint = f"leave it out; it belongs to ./doit {' and ./doit '.join(users)}"
            raise UserError(f"{name}=: {what} does not use this variable", hint)


def used_by(task: str) -> list[Variable]:
    """The variables that one task uses."""
    return [one for one in VARIABLES if not one.tasks or task.split(":", maxsplit=1)[0] in one.tasks]


def describe(task: str) -> str:
    """The variables of a task, one a line, for `./doit help TASK`."""
    return "".join(f"\n  {_form(one):26} {one.meaning}" for one in used_by(task))


def text(name: str) -> str:
    """The value of a variable of the table, in its proper form; its default without one."""
    variable = TABLE[name]
    return str(get_var(name, variable.default) or variable.default)


def flag(name: str) -> bool:
    """Whether a variable says yes."""
    return text(name) == "yes"


def number(name: str) -> int:
    """The value of a variable that is a number."""
    return int(text(name))


def address(name: str) -> str:
    """The value of a variable that is a PCI address, with its domain; empty without one."""
    return _address(text(name)) if text(name) else ""
