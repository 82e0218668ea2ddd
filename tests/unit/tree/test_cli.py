"""What a person meets at the command line: one message, the right exit status, nothing left behind, no waiting."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hostwright.base import paths

COPIED = (
    "dodo.py",
    "hostwright",
    "recipes",
    "kconfig",
    "patches",
    "rootfs",
    "buildroot",
    "host.toml",
    "hosts",
    "pyproject.toml",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree, with a golden configuration and nothing built."""
    for name in COPIED:
        source = paths.TREE / name
        if source.is_dir():
            shutil.copytree(
                source, tmp_path / "tree" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (tmp_path / "tree").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "tree" / name)
    golden = tmp_path / "tree" / paths.RESOLVED_CONFIG.relative_to(paths.TREE)
    golden.parent.mkdir(parents=True)
    shutil.copy(paths.RESOLVED_CONFIG, golden)
    return tmp_path / "tree"


def doit(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tree.parent / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "doit", *words]
    return subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def is_untouched(tree: Path) -> bool:
    return not (tree / "dist").exists() and not (tree.parent / "cache").exists()


def test_every_command_that_the_documents_name_is_there(tree: Path) -> None:
    listed = doit(tree, "list", "--all", "--quiet").stdout.split()
    pages = [*paths.TREE.glob("*.md"), *(paths.TREE / "docs").glob("*.md")]
    named = {
        word for page in pages for word in re.findall(r"`\./doit ([a-z][\w-]*)(?![\w=-])", page.read_text())
    }
    assert named >= {"host", "prove-guest", "guest-fast", "kernel-config"}
    assert named - {"list", "info", "help", "clean"} <= set(listed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"\nkernell = 1\n', "kernel"),
        ('name = "x"\n[[device]]\naddress = "0000:zz:00.0"\n', "0000:zz:00.0"),
        ('name = "x"\n[iommu]\nacs_override = ["downstraem"]\n', "downstream"),
        ("name = \n", "bad.toml:1:"),
        ('name = "x"\n[kernel]\noptions = ["CONFIG_VFIO=n"]\n', "kconfig/vfio.config"),
    ],
)
def test_a_bad_machine_file_is_one_message_and_status_2(tree: Path, text: str, said: str) -> None:
    (tree / "bad.toml").write_text(text)
    result = doit(tree, "kernel", "machine=bad.toml")
    assert result.returncode == 2, result.stderr
    assert said in result.stderr and "bad.toml" in result.stderr + "bad.toml" * ("kconfig" in said)
    assert "hint:" in result.stderr and "Traceback" not in result.stderr
    assert is_untouched(tree)


def test_what_the_capture_forbids_is_refused_before_anything_is_fetched_or_built(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTWRIGHT_JOBS", "1")
    monkeypatch.setenv("HOSTWRIGHT_MIRROR", "http://127.0.0.1:1/debian")
    shutil.copy(paths.GOLDEN / "groups" / "t1-to-t10.tar.xz", tree / "machine.tar")
    (tree / "bad.toml").write_text(
        'name = "x"\ncapture = "machine.tar"\n[[device]]\naddress = "0000:03:00.0"\n'
    )
    result = doit(tree, "host", "machine=bad.toml")
    assert result.returncode == 2
    assert "bad.toml:4: device[0].address" in result.stderr and "0000:04:00.0, bound to nvme" in result.stderr
    assert "hint:" in result.stderr and "Traceback" not in result.stderr
    assert "127.0.0.1" not in result.stderr
    assert not (tree / "dist/buildroot.json").exists()
    again = doit(tree, "passthrough", "machine=bad.toml")
    assert again.returncode == 2
    (tree / "bad.toml").write_text((tree / "bad.toml").read_text().replace("03:00.0", "02:00.0"))
    assert doit(tree, "passthrough", "machine=bad.toml").returncode == 0


def test_doctor_reads_a_capture_and_ends_well_whatever_it_finds(tree: Path) -> None:
    source = paths.GOLDEN / "groups" / "t1-to-t10.tar.xz"
    result = doit(tree, "doctor", f"capture={source}", "device=0000:03:00.0", "json=yes")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout[: result.stdout.rindex("}") + 1])["device"]["companions"] == [
        "0000:04:00.0"
    ]
    assert "0000:03:00.0 leaves the host" in (tree / "dist/doctor/doctor.txt").read_text()
    wrong = doit(tree, "doctor", f"capture={tree / 'dodo.py'}")
    assert wrong.returncode == 2
    assert "dodo.py: neither a tar nor lspci" in wrong.stderr


def test_a_missing_machine_file_is_named(tree: Path) -> None:
    result = doit(tree, "machine=hosts/none.toml")
    assert result.returncode == 2
    assert "hosts/none.toml" in result.stderr and "Traceback" not in result.stderr
    assert is_untouched(tree)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CONFIG_VFIO=maybe\n", "kconfig/zz.config:1"),
        ("CONFIG_VFIO=n\n", "kconfig/zz.config:1"),
        ("VFIO=y\n", "CONFIG_VFIO"),
    ],
)
def test_a_bad_fragment_is_one_message_and_status_2(tree: Path, line: str, said: str) -> None:
    (tree / "kconfig" / "zz.config").write_text(line)
    result = doit(tree, "kernel")
    assert result.returncode == 2
    assert said in result.stderr and "Traceback" not in result.stderr
    assert is_untouched(tree)


def test_a_broken_lock_names_its_line(tree: Path) -> None:
    (tree / "buildroot" / "lock").write_text("gcc 14\n")
    result = doit(tree, "buildroot")
    assert result.returncode == 2
    assert "buildroot/lock:1" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kernal"], "did you mean kernel?"),
        (["guest:nosuch"], "known here: guest:debian"),
        (["info", "nosuch"], "nosuch: there is no such task"),
        (["clean", "nosuch"], "nosuch: there is no such task"),
        (["help", "nosuch"], "nosuch: there is no such task"),
        (["host", "Machine=x"], "did you mean machine=?"),
        (["host", "machine=host.toml", "machine=x"], "machine= is there twice"),
        (["guest", "offline=maybe"], "offline=maybe: no such choice"),
        (["prove-groups", "n=-1"], "n=-1: not a number"),
        (["host", "capture=host.toml"], "host does not use this variable"),
    ],
)
def test_a_bad_command_line_is_one_message_and_status_2(tree: Path, words: list[str], told: str) -> None:
    result = doit(tree, *words)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ") and told in result.stderr and "hint:" in result.stderr
    assert "Traceback" not in result.stderr and is_untouched(tree)


def test_a_broken_recipe_is_one_message_and_status_2(tree: Path) -> None:
    recipe = tree / "recipes/zlib.py"
    recipe.write_text(recipe.read_text().replace("RECIPE =", "RECIPE ="[:-1]))
    result = doit(tree, "kernel")
    assert result.returncode == 2
    assert result.stderr.startswith("error: recipes/zlib.py:") and "Traceback" not in result.stderr


@pytest.mark.parametrize("words", [("host",), ("list",), ("clean", "kernel")])
def test_a_file_in_the_place_of_dist_is_one_message_and_status_2(tree: Path, words: tuple[str, ...]) -> None:
    (tree / "dist").write_text("")
    result = doit(tree, *words)
    assert "Traceback" not in result.stderr
    assert result.returncode == (0 if words == ("list",) else 2), result.stderr
    assert result.returncode == 0 or f"mv {tree}/dist" in result.stderr


def test_an_empty_word_is_refused_by_the_launcher() -> None:
    result = subprocess.run(["sh", paths.TREE / "doit", ""], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "empty word" in result.stderr and "hint:" in result.stderr


def test_an_archive_out_of_reach_is_one_message_with_every_place(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTWRIGHT_MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setenv("HOSTWRIGHT_JOBS", "1")
    result = doit(tree, "sources:zlib")
    assert result.returncode == 2
    assert "cannot fetch zlib" in result.stderr and "http://127.0.0.1:1/debian/pool/" in result.stderr
    assert "HOSTWRIGHT_MIRROR" in result.stderr and "Traceback" not in result.stderr


def test_the_table_of_contents_reads_in_build_order(tree: Path) -> None:
    result = doit(tree, "list")
    names = [line.split()[0] for line in result.stdout.splitlines()]
    order = [
        "sources",
        "passthrough",
        "buildroot",
        "package",
        "kernel-config",
        "kernel",
        "ovmf",
        "rootfs",
        "host",
        "prove",
    ]
    assert [name for name in names if name in order] == order
    assert all(len(line.split()) > 3 for line in result.stdout.splitlines())
    assert is_untouched(tree) or list((tree / "dist").iterdir()) == [tree / "dist/.state.json"]


def test_inputs_can_be_asked_for(tree: Path) -> None:
    result = doit(tree, "info", "kernel-config")
    assert "kconfig/vfio.config" in result.stdout and "0001-pci-acs-override.patch" in result.stdout


def processor_seconds(tree: Path, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    doit(tree, *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_table_of_contents_costs_little_more_than_doit_itself(tree: Path) -> None:
    """0.3 s on an idle machine, where doit alone takes 0.12 s: a ratio holds on a busy one as well."""
    pairs = [(processor_seconds(tree, "--version"), processor_seconds(tree, "list")) for _ in range(4)]
    alone, whole = zip(*pairs, strict=True)
    assert min(whole) < 4 * min(alone)


def test_a_second_run_in_the_same_tree_is_refused(tree: Path) -> None:
    import fcntl

    (tree / "dist").mkdir()
    with (tree / "dist/.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        print(4711, file=handle, flush=True)
        result = doit(tree, "buildroot")
    assert result.returncode == 2
    assert (
        "another ./doit is running in this tree (process 4711)" in result.stderr
        and "kill 4711" in result.stderr
    )


def test_clean_removes_what_a_task_wrote_and_no_more(tree: Path) -> None:
    firmware, modules = tree / "dist/ovmf", tree / "dist/kernel/modules/6.12"
    for folder in (firmware, modules):
        folder.mkdir(parents=True)
    (firmware / "OVMF_CODE.fd").write_text("")
    (modules / "vfio.ko").write_text("")
    assert doit(tree, "clean", "kernel").returncode == 0
    assert not modules.parent.exists() and (firmware / "OVMF_CODE.fd").exists()
    assert doit(tree, "clean").returncode == 0
    assert not (firmware / "OVMF_CODE.fd").exists()


def test_another_machine_has_a_folder_of_its_own(tree: Path) -> None:
    name = re.search(r'^name = "(.*)"', (tree / "hosts/proliant-t10.toml").read_text(), re.M)
    assert name
    assert f"{tree}/dist/host.img" in doit(tree, "info", "host").stdout
    assert f"{tree}/dist/host.img" in doit(tree, "info", "host", "machine=host.toml").stdout
    shown = doit(tree, "info", "host", "machine=hosts/proliant-t10.toml").stdout
    assert f"{tree}/dist/{name[1]}/host.img" in shown and f"{tree}/dist/host.img" not in shown


def test_no_machine_takes_the_name_of_a_result(tree: Path) -> None:
    file = tree / "mine.toml"
    file.write_text((tree / "host.toml").read_text().replace('"lab"', '"kernel"', 1))
    result = doit(tree, "host", "machine=mine.toml")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert 'name = "kernel": dist/kernel is a result of every machine' in result.stderr
    assert is_untouched(tree)


# Every module of the engine, and what each has taken over of dist/.
TAKEN_OVER = """
import importlib, pathlib, pkgutil, sys
from hostwright.tasks import loader
loader.choose_folder(sys.argv[1])
import dodo, hostwright
from hostwright.base import paths
for module in pkgutil.walk_packages(hostwright.__path__, "hostwright."):
    for name, place in vars(importlib.import_module(module.name)).items():
        if isinstance(place, pathlib.Path) and place.is_relative_to(paths.TREE / "dist"):
            print(module.name, name, place.relative_to(paths.TREE))
"""


def test_no_module_keeps_a_place_of_the_default_machine(tree: Path) -> None:
    argv = [sys.executable, "-c", TAKEN_OVER, "hosts/proliant-t10.toml"]
    result = subprocess.run(argv, cwd=tree, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) > 20
    assert [line for line in lines if "dist/proliant" not in line] == []
