"""What the built packages are made of: flags, libraries, places; and that an undeclared need fails."""

import functools
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.run import ProgramError
from hostwright.base.times import EPOCH
from hostwright.build import checks, package, recipes, stage, store
from hostwright.formats import elf
from hostwright.image import rootfs
from hostwright.recipe import Make, Recipe, Source
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.workshop import open_at
from hostwright.source import fetch

# On no host: headers alone, what is built for the firmware, and the kernel.
ELSEWHERE = ("linux-headers", "edk2", "linux", "grub")
NAMES = [name for name in recipes.recipe_names() if name not in ELSEWHERE]

# The C library itself, and libraries that call no function of it that FORTIFY knows.
NOT_FORTIFIED = ("glibc", "inih", "libaio", "liburing")

Builder = Callable[..., store.Built]

# As the sandbox sets it, at the end of a string.
HOST_NAME = b"hostwright\0"


def built(name: str) -> store.Built:
    """The package as this tree built it."""
    if not store.is_stamped(name):
        pytest.fail(f"{name} is not built; run ./doit package:{name}")
    return store.read_stamp(name)


@functools.cache
def elf_files(name: str) -> list[str]:
    """The programs and shared libraries of a package."""
    one = built(name)
    candidates = [
        entry.path for entry in one.entries() if entry.kind == "file" and elf.is_elf(one.tree / entry.path)
    ]
    return [path for path in candidates if elf.is_loadable(one.tree / path)]


@pytest.mark.parametrize("name", NAMES)
def test_the_owner_may_write_every_file(name: str) -> None:
    """Or a plain user could not strip what root can."""
    tree = built(name).tree
    files_of_it = [entry.path for entry in built(name).entries() if entry.kind == "file"]
    assert [path for path in files_of_it if not (tree / path).stat().st_mode & stat.S_IWUSR] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_flags_of_the_engine_reach_the_compiler(name: str) -> None:
    """A file without arrays needs no guard; a package where no file has one was built with other flags."""
    found = frozenset[str]().union(*(elf.imports(built(name).tree / path) for path in elf_files(name)))
    assert not elf_files(name) or "__stack_chk_fail" in found
    assert not elf_files(name) or name in NOT_FORTIFIED or any(one.endswith("_chk") for one in found)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_its_recipe_declares(name: str) -> None:
    recipe = recipes.load_recipe(name)
    given = [entry.path for need in recipes.closure(recipe.needs) for entry in built(need).entries()]
    assert not list(checks.problems(recipe, built(name).tree, given))


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_the_promised_files_are_in_the_manifest(name: str) -> None:
    """Of packages that no host holds too: a build that took them from the store has not checked them anew."""
    if not store.is_stamped(name):
        pytest.skip(f"{name} is not built")
    staged = [entry.path for entry in built(name).entries() if entry.kind != "folder"]
    assert checks.missing_files(recipes.load_recipe(name), staged) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_the_build_machine_is_forgotten(name: str) -> None:
    one = built(name)
    regular = [entry.path for entry in one.entries() if entry.kind == "file"]
    found = [path for path in regular if HOST_NAME in (one.tree / path).read_bytes()]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", NAMES)
def test_staged_paths_keep_to_the_layout(name: str) -> None:
    folders = ("usr/bin/", "usr/sbin/", "usr/lib/", "usr/libexec/", "usr/include/", "usr/share/", "etc/")
    allowed = (*folders, "lib64/") if name == "glibc" else folders
    files = [entry.path for entry in built(name).entries() if entry.kind != "folder"]
    wrong = [
        path for path in files if not path.startswith(allowed) or path.startswith("usr/lib/x86_64-linux-gnu/")
    ]
    wrong += [path for path in files if path.endswith((".la", ".a")) and name != "glibc"]
    wrong += [
        path for path in files if path.startswith(("usr/share/man/", "usr/share/info/", "usr/share/doc/"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_only_declared_programs_are_set_user_id(name: str) -> None:
    special = [
        entry.path for entry in built(name).entries() if int(entry.mode, 8) & (stat.S_ISUID | stat.S_ISGID)
    ]
    assert sorted(special) == sorted(recipes.load_recipe(name).setuid)


@pytest.mark.parametrize("name", [one for one in NAMES if recipes.load_recipe(one).smoke])
def test_the_smoke_test_names_a_program_of_the_package(name: str) -> None:
    path = recipes.load_recipe(name).smoke[0].lstrip("/")
    assert built(name).tree.joinpath(path).stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", [one for one in NAMES if recipes.load_recipe(one).smoke])
def test_the_smoke_test_runs_beside_its_needs_alone(name: str, root: Path) -> None:
    run_in(root, [name], recipes.load_recipe(name).smoke)


def run_in(root: Path, names: list[str], argv: tuple[str, ...]) -> bytes:
    """What a program prints where the packages `names` and their needs are all that there is."""
    package.make_sysroot(root, [built(one) for one in recipes.closure(names)])
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    if sandbox.mode(tools) == "chroot":
        pytest.skip("in a chroot the job starts through env and sh of its own tree")
    return sandbox.output(sandbox.Job(root, argv, cwd="/", proc=True), tools)


def test_a_shell_lives_without_the_locale_that_it_is_asked_for(root: Path) -> None:
    line = "echo 'echo alive' | LC_ALL=de_DE.UTF-8 bash --norc -i"
    assert run_in(root, ["bash"], ("/usr/bin/bash", "-c", line)) == b"alive\n"


def test_the_locale_is_one_of_several_bytes_a_character(root: Path) -> None:
    line = "LC_ALL=C.UTF-8; text=$'\\xc3\\xa9'; echo ${#text}"
    assert run_in(root, ["bash", "glibc-locales"], ("/usr/bin/bash", "-c", line)) == b"1\n"


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty root file system in the cache, since packages are laid into it as hard links."""
    folder = paths.work() / f"test-root-{os.getpid()}"
    for name in ("proc", "dev", "tmp", "run"):
        (folder / name).mkdir(parents=True)
    for name, goal in rootfs.LINKS.items():
        (folder / name).symlink_to(goal)
    yield folder
    files.remove(folder)


def test_no_path_is_staged_twice() -> None:
    owner: dict[str, str] = {}
    twice = []
    for name in NAMES:
        for entry in built(name).entries():
            if entry.kind != "folder" and owner.setdefault(entry.path, name) != name:
                twice.append(f"{entry.path}: {owner[entry.path]} and {name}")
    assert not twice, "\n".join(twice)


def test_links_lead_somewhere() -> None:
    entries: dict[str, stage.Entry] = {entry.path: entry for name in NAMES for entry in built(name).entries()}
    dangling = []
    for path, entry in entries.items():
        if entry.kind == "link":
            goal = resolved(path, entry.link)
            first, _, rest = goal.partition("/")
            if goal not in entries and f"{rootfs.LINKS.get(first, first)}/{rest}" not in entries:
                dangling.append(f"{path} -> {entry.link}")
    assert not dangling, "\n".join(dangling)


def resolved(path: str, link: str) -> str:
    """Where a link in a tree points to, as a path of that tree."""
    parts: list[str] = []
    for part in (PurePosixPath("/", path).parent / link).parts[1:]:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


HEADER = "#include <zlib.h>\nint main(void) { return zlibVersion()[0] == '0'; }\n"
SYMBOL = "extern const char *zlibVersion(void);\nint main(void) { return zlibVersion()[0] == '0'; }\n"
FLAGS = "$(CFLAGS) $(LDFLAGS)"
CARELESS = "-no-pie -Wl,-z,norelro -Wl,-z,lazy -Wl,-z,execstack -Wl,-rpath,/opt/lib"
MAKEFILE = """\
probe: probe.c
\t$(CC) {flags} -o $@ $< -lz
install: probe
\tinstall -D probe $(DESTDIR)/usr/bin/probe
"""


def archive(source: str, flags: str) -> bytes:
    """A source tarball of two files."""
    makefile = MAKEFILE.format(flags=flags)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, text in (("probe-1/probe.c", source), ("probe-1/Makefile", makefile)):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(text), EPOCH
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


# In the store a name of its own for each run of the tests: what another one builds there stays.
PROBE = Recipe(
    name=f"probe-{os.getpid()}",
    version="1",
    license="0BSD",
    home="https://example.org/",
    source=Source("pool/main/p/probe/probe_1.orig.tar.xz", sha256=""),
    needs=("glibc",),
    build=Make(),
)


@pytest.fixture
def build_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Builder]:
    """Builds a recipe that is in no folder, from one C file; what that leaves in the cache goes away again."""
    load, local, stamp = recipes.load_recipe, fetch.local, paths.package_stamp
    monkeypatch.setattr(
        paths, "package_stamp", lambda name: tmp_path / name if name == PROBE.name else stamp(name)
    )
    # In the cache, since a build takes its sources as hard links.
    folder = paths.work() / f"{PROBE.name}-sources"
    folder.mkdir(parents=True)
    tarball = folder / "probe.tar.xz"

    def act(source: str, needs: tuple[str, ...], flags: str = FLAGS) -> store.Built:
        tarball.write_bytes(archive(source, flags))
        digest = files.digest(tarball)
        recipe = replace(PROBE, source=replace(PROBE.source, sha256=digest), needs=needs)
        monkeypatch.setattr(recipes, "load_recipe", lambda name: recipe if name == PROBE.name else load(name))
        monkeypatch.setattr(fetch, "local", lambda sha256: tarball if sha256 == digest else local(sha256))
        return package.build_package(PROBE.name, open_at(tmp_path / "log"))

    yield act
    for left in [*paths.store().glob(f"{PROBE.name}*"), *paths.work().glob(f"{PROBE.name}*")]:
        files.remove(left)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [(HEADER, "zlib.h: No such file"), (SYMBOL, "cannot find -lz")],
    ids=["header", "library"],
)
def test_an_undeclared_need_fails(build_probe: Builder, source: str, complaint: str, tmp_path: Path) -> None:
    built("zlib")
    with pytest.raises(ProgramError):
        build_probe(source, ("glibc",))
    assert complaint in (tmp_path / "log").read_text()


@pytest.mark.parametrize("source", [HEADER, SYMBOL], ids=["header", "library"])
def test_a_declared_need_is_found(build_probe: Builder, source: str) -> None:
    built("zlib")
    made = build_probe(source, ("glibc", "zlib"))
    program = made.tree / "usr/bin/probe"
    assert elf.needed(program) == ("libz.so.1", "libc.so.6")
    assert elf.is_pie(program)
    assert elf.has_full_relro(program)


def test_a_careless_build_fails(build_probe: Builder) -> None:
    built("zlib")
    with pytest.raises(UserError) as caught:
        build_probe(HEADER, ("glibc", "zlib"), CARELESS)
    for weakness in ("position independent", "stay writable", "executable stack", "search path of its own"):
        assert weakness in caught.value.message
