"""The command line is checked before anything runs: names of tasks, names and values of variables."""

import ast
import re
from types import SimpleNamespace

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.tasks import loader, variables

COMMANDS = ("clean", "help", "info", "list", "run")


def task(name: str, *deps: str, **fields: object) -> SimpleNamespace:
    rest = {"targets": [], "file_dep": [], "pos_arg": None, "has_subtask": False} | fields
    return SimpleNamespace(name=name, task_dep=list(deps), **rest)


TASKS = {
    one.name: one
    for one in (
        task("kernel", "kernel-config", targets=["/dist/bzImage"]),
        task("kernel-config"),
        task("guest", "guest:debian", "guest:web", has_subtask=True),
        task("guest:debian", targets=["/dist/disk"]),
        task("guest:web"),
        task("none", has_subtask=True),
        task("package", has_subtask=True),
        *(task(f"package:p{number}") for number in range(40)),
        task("prove-guest", file_dep=["/dist/disk"]),
        task("add", pos_arg="words"),
    )
}


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("run", ["kernal"], r"(?s)^kernal: there is no such task.*did you mean kernel\?"),
        ("run", ["kernel", "lisst"], r"(?s)^lisst: there is no such task.*did you mean list\?"),
        ("run", ["-n", "kernal"], "^kernal: there is no such task"),
        ("run", ["gust:debian"], r"did you mean guest:debian\?"),
        ("run", ["guest:debain"], r'(?s)guest has no part "debain".*did you mean guest:debian\? known here: guest:de'),
        ("run", ["none:x"], r"(?s)none has no part.*has no \[\[guest\]\]"),
        ("run", ["package:p99"], r"(?s)package has no part.*\./doit list --all package shows all"),
        ("run", ["qqqq*"], r"^qqqq\*: there is no such task"),
        ("run", ["\x1b[2J"], r"^\\x1b\[2J: there is no such task"),
        ("info", ["nosuch"], "^nosuch: there is no such task"),
        ("info", [], "info takes one task, and got 0"),
        ("info", ["kernel", "guest"], "info takes one task, and got 2"),
        ("clean", ["kernal"], r"did you mean kernel\?"),
        ("help", ["kernal"], r"did you mean kernel\?"),
        ("list", ["kernal"], r"did you mean kernel\?"),
    ],
)  # fmt: skip
def test_a_word_that_names_no_task_is_refused_with_the_nearest(
    command: str, words: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=told) as caught:
        loader.check_words(command, words, TASKS, COMMANDS)
    assert caught.value.hint and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", []),
        ("run", ["kernel", "guest:web", "package:*", "/dist/bzImage", "-n"]),
        ("run", ["add", "anything", "else"]),
        ("info", ["kernel"]),
        ("tabcompletion", ["whatever"]),
        ("clean", ["guest*"]),
    ],
)
def test_words_that_name_tasks_are_taken(command: str, words: list[str]) -> None:
    loader.check_words(command, words, TASKS, COMMANDS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"Machine": "x.toml"}, r"(?s)^Machine=x.toml: there is no such variable.*did you mean machine=\?"),
        ({"captur": "x"}, r"did you mean capture=\?"),
        ({"nosuch": "1"}, r"(?s)^nosuch=1: there is no such variable.*known are machine=, offline="),
        ({"": "1"}, "^=1: there is no such variable"),
        ({"a\x1bb": "1\n"}, r"^a\\x1bb=1\\n: there is no such variable"),
        ({"offline": "maybe"}, r"(?s)^offline=maybe: no such choice.*known here: no, yes"),
        ({"vnc": "tpc"}, r'(?s)^vnc=tpc: no such choice.*did you mean "tcp"\?'),
        ({"n": "-1"}, r"(?s)^n=-1: not a number.*from 1 to"),
        ({"n": "0"}, r"(?s)^n=0: out of range.*from 1 to"),
        ({"n": "\u00b2"}, "not a number"),
        ({"n": "9" * 5000}, "not a number"),
        ({"seed": "one"}, "not a number"),
        ({"machine": ""}, r"(?s)^machine=: the value is missing.*write machine=FILE"),
        ({"capture": "/no/such"}, "^capture=/no/such: there is no file"),
        ({"kernel": "/"}, "^kernel=/: is not a file"),
        ({"device": "82:00"}, r'(?s)^device=82:00: not a PCI address.*lspci -D'),
        ({"override": "downstraem"}, r'did you mean "downstream"\?'),
        ({"series": "6.13"}, r"(?s)^series=6.13: no such choice.*6\.12"),
        ({"package": "bsh"}, r"(?s)no recipe \"bsh\".*did you mean bash\?"),
        ({"name": "../x"}, "not the name of a package"),
        ({"as": "A B"}, "not the name of a package"),
        ({"config_acs": "x\n"}, r'(?s)"x\\n" is not FLAGS@DEVICE.*up to seven'),
    ],
)  # fmt: skip
def test_a_variable_that_cannot_be_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        variables.check_given(given)
    assert caught.value.hint
    assert str(caught.value).replace("\n  hint: ", "").isprintable()


def test_good_values_are_taken() -> None:
    variables.check_given(
        {
            "machine": "host.toml",
            "device": "10000:82:00.0",
            "override": "downstream,id:10de:1e37",
            "n": "100",
            "seed": "0",
            "kernel": str(paths.LOCK),
            "capture": "/",
            "series": "6.1",
            "package": "util-linux",
            "offline": "yes",
        }
    )


@pytest.mark.parametrize(
    ("words", "given", "told"),
    [
        (["kernel"], ["offline"], "offline=: kernel does not use this variable"),
        ([], ["json"], "json=: kernel guest does not use this variable"),
        (["prove-guest"], ["name"], "it belongs to ./doit add"),
        (["guest:web"], ["offline", "machine"], ""),
        (["guest*"], ["offline"], ""),
        (["prove-guest"], ["offline"], ""),
        ([], ["vnc"], ""),
    ],
)
def test_a_variable_that_no_task_of_the_run_uses_is_refused(
    words: list[str], given: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "given", lambda: dict.fromkeys(given, "x"))
    if not told:
        loader._check_use(words, TASKS, ["kernel", "guest"])
        return
    with pytest.raises(UserError, match=re.escape(told)):
        loader._check_use(words, TASKS, ["kernel", "guest"])


def test_short_addresses_get_their_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "get_var", lambda name, _: "82:00.0" if name == "device" else "")
    assert variables.address("device") == "0000:82:00.0"
    assert variables.number("n") == 20 and not variables.flag("json") and variables.text("vnc") == "unix"


def test_the_table_has_every_variable_that_is_read_and_no_other() -> None:
    read: set[str] = set()
    for file in (paths.TREE / "hostwright/tasks").glob("*.py"):
        text = file.read_text()
        assert "get_var" not in text or file.name == "variables.py", (
            f"{file.name}: take it from tasks.variables"
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and re.fullmatch(r"variables\.\w+", ast.unparse(node.func)):
                read |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    assert read == set(variables.TABLE)


def test_the_page_of_commands_has_the_table() -> None:
    page = (paths.TREE / "docs/commands.md").read_text()
    rows = re.findall(r"^\| `(\w+)=([^`]+)` \| (.+?) \| (.+?) \|$", page, re.M)
    assert rows == [
        (one.name, one.form, ", ".join(f"`{name}`" for name in one.tasks) or "all", one.meaning)
        for one in variables.VARIABLES
    ]


def test_every_task_of_the_table_is_there() -> None:
    made = set(re.findall(r"^task_(\w+) =", (paths.TREE / "dodo.py").read_text(), re.M))
    used = {name.replace("-", "_") for one in variables.VARIABLES for name in one.tasks}
    assert used <= made


def test_help_names_the_variables_of_a_task() -> None:
    assert "capture=FILE" in variables.describe("doctor") and "offline" not in variables.describe("doctor")
