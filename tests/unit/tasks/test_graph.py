"""The graph knows its code: a changed constant in any module that a task runs makes it out of date, a comment none."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from doit.doit_cmd import reset_vars

from hostwright.base import code, paths
from hostwright.tasks import define, guests, host, inputs
from hostwright.tasks.define import Decided, Task


@pytest.fixture(autouse=True, scope="module")
def _no_variables() -> None:
    """As on a command line without any: the lab's host.toml counts."""
    reset_vars()


def tasks() -> dict[str, Task]:
    """Every task that leaves a file, one package standing for all, by name."""
    single = (host.buildroot, host.kernel_config, host.kernel, host.ovmf, host.rootfs, host.host, host.prove)
    several = (guests.guest, guests.guest_fast)
    return {
        **{define.task_name(make): make() for make in (*single, guests.medium, guests.prove_guest)},
        "package": next(iter(host.package_())),
        **{define.task_name(make): next(iter(make())) for make in several},
    }


NAMES = (
    *("buildroot", "package", "kernel-config", "kernel", "ovmf", "rootfs", "host", "prove", "medium"),
    *("guest", "guest-fast", "prove-guest"),
)


@functools.cache
def modules() -> dict[str, str]:
    """The text of every module, as Python writes its syntax tree: without comments."""
    return {
        ".".join(file.relative_to(code.ENGINE).with_suffix("").parts): ast.unparse(
            ast.parse(file.read_text())
        )
        for file in code.ENGINE.rglob("*.py")
        if file.name != "__init__.py"
    }


@functools.cache
def action(name: str) -> code.Action:
    (decided,) = [one for one in tasks()[name]["uptodate"] if isinstance(one, Decided)]
    return code.find_action(decided._act)


class Mutated(code.Engine):
    """The engine with one module changed."""

    def __init__(self, name: str, changed: code.Module) -> None:
        super().__init__(paths.CODE)
        known = {one: code.engine().module(one) for one in modules()}
        self._modules = {**known, name: changed}


@functools.cache
def other_constant(name: str) -> code.Module:
    """A module with its first constant that is no docstring changed."""
    tree = ast.parse(modules()[name])
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in texts)
    constant = next(node for node in constants if node.value is not None)
    constant.value = f"not {constant.value!r}"
    return code.read(ast.unparse(tree))


@functools.cache
def commented(name: str) -> code.Module:
    """A module in another layout, with a comment."""
    return code.read(f"# a comment\n{modules()[name]}")


def test_all_tasks_with_targets_are_tested() -> None:
    assert tasks().keys() == set(NAMES)
    assert all(task["targets"] for task in tasks().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_constant_in_any_module_that_runs_makes_it_out_of_date(name: str) -> None:
    entry = action(name).modules
    before = code.engine().text(entry)
    for module in code.engine().closure(entry):
        assert Mutated(module, other_constant(module)).text(entry) != before, module


@pytest.mark.parametrize("name", NAMES)
def test_comments_and_other_modules_change_nothing(name: str) -> None:
    entry = action(name).modules
    before, closure = code.engine().text(entry), code.engine().closure(entry)
    for module in modules():
        changed = commented(module) if module in closure else other_constant(module)
        assert Mutated(module, changed).text(entry) == before, module


@pytest.mark.parametrize("name", NAMES)
def test_the_closure_holds_all_that_python_imports(name: str) -> None:
    entry = action(name).modules
    lines = "; ".join(f"import hostwright.{module}" for module in entry)
    argv = [sys.executable, "-c", f"import json, sys; {lines}; print(json.dumps(sorted(sys.modules)))"]
    loaded = json.loads(subprocess.run(argv, cwd=paths.TREE, capture_output=True, check=True).stdout)
    own = {one.removeprefix("hostwright.") for one in loaded if one.startswith("hostwright.")}
    assert own - set(code.engine().closure(entry)) - {one.split(".")[0] for one in own} == set()


UNRELATED = {
    "prove": ("upkeep.draft", "guest.fast", "build.kconfig", "doctor.view", "tasks.board"),
    "host": ("proof.judge", "vm.login", "upkeep.lock", "guest.make"),
    "package": ("proof.judge", "image.disk", "build.kconfig", "pci.iommu"),
    "medium": ("proof.judge", "guest.watch", "vm.screen"),
}


@pytest.mark.parametrize(
    ("name", "module"), [(name, one) for name, ones in UNRELATED.items() for one in ones]
)
def test_what_a_task_does_not_run_is_no_input(name: str, module: str) -> None:
    assert module in modules()
    assert module not in code.engine().closure(action(name).modules)


EXPECTED = {
    "host": ("image.disk", "image.grub", "image.ids", "formats.gpt", "sandbox.sandbox"),
    "rootfs": ("image.rootfs", "image.templates", "image.guest_files", "vm.guest_argv", "doctor.findings"),
    "prove": ("proof.judge", "proof.lab", "vm.board", "vm.console", "proof.login_rows", "image.initramfs"),
    "medium": ("guest.medium", "guest.initrd", "guest.udeb", "formats.cpio"),
    "guest": ("guest.install", "guest.watch", "guest.preseed", "vm.monitor"),
    "guest-fast": ("guest.fast", "guest.unpacked"),
    "prove-guest": ("proof.guest",),
}


@pytest.mark.parametrize(("name", "module"), [(name, one) for name, ones in EXPECTED.items() for one in ones])
def test_what_the_work_is_done_by_is_an_input(name: str, module: str) -> None:
    assert module in code.engine().closure(action(name).modules)


def test_the_function_of_a_task_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    source = code.file_of("tasks.host")
    digests = set()
    for text in (
        source.read_text(),
        source.read_text().replace('store.read_stamp("linux")', 'store.read_stamp("other")'),
    ):
        changed = paths.TREE / "absent.py"
        monkeypatch.setattr(type(source), "read_text", lambda _self, text=text: text)
        digests.add(code._find_action.__wrapped__(changed, "rootfs").digest)
    assert len(digests) == 2


def decided(task: Task) -> Iterator[str]:
    return (one.text for one in task["uptodate"] if isinstance(one, Decided))


def test_what_the_image_is_made_from_follows_code_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = define.made_from([host.host()])
    assert define.made_from([host.host()]) == before
    changed = Mutated("image.grub", other_constant("image.grub"))
    monkeypatch.setattr(code, "engine", lambda: changed)
    assert define.made_from([host.host()]) != before


def test_a_setting_of_host_toml_is_an_input_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    lab = inputs.machine()
    before = [*decided(host.rootfs()), *decided(host.prove())]
    other = replace(
        lab, guests=(replace(lab.guests[0], disk_gib=lab.guests[0].disk_gib + 1), *lab.guests[1:])
    )
    monkeypatch.setattr(host, "machine", lambda: other)
    after = [*decided(host.rootfs()), *decided(host.prove())]
    assert all(one != two for one, two in zip(before, after, strict=True))
