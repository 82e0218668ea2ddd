"""The installer medium as far as it can be checked without Debian's packages."""

import re
import shlex
import stat
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza
from hostwright.formats.cpio import Entry
from hostwright.guest import initrd, medium, udeb
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import open_at
from hostwright.source import closure, fetch, index
from hostwright.source.pins import render_lock
from hostwright.upkeep import installer_lock

FILE = stat.S_IFREG | 0o644
RELEASE = "6.12.94+deb13-amd64"
IDS = medium.ids_for("one medium")
ARCHIVES = ["http://127.0.0.1"]


def bzimage(version: str) -> bytes:
    """The part of a bzImage that identifies it: the setup header and its version text."""
    kernel = bytearray(0x2400)
    kernel[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", kernel, 0x20E, 0x2000)
    text = f"{version} (somebody@somewhere) #1 SMP\0".encode()
    kernel[0x2200 : 0x2200 + len(text)] = text
    return bytes(kernel)


def part(name: str, *files: str, version: str = "1") -> udeb.Part:
    entries = tuple(Entry(path, FILE, b"x") for path in files)
    return udeb.Part({"Package": name, "Version": version}, {}, entries)


def empty_tree() -> udeb.Tree:
    status = b"Package: debian-installer\nStatus: install ok installed\n\n"
    return {udeb.STATUS: Entry(udeb.STATUS, FILE, status)}


def test_the_release_is_read_from_the_kernel() -> None:
    assert initrd.kernel_release(bzimage(RELEASE)) == RELEASE


@pytest.mark.parametrize("kernel", [b"", bytes(0x2400), bzimage(RELEASE).replace(b"HdrS", b"hdrs")])
def test_what_is_no_kernel_is_said(kernel: bytes) -> None:
    with pytest.raises(UserError, match="not a bzImage"):
        initrd.kernel_release(kernel)


def test_modules_for_another_kernel_are_refused() -> None:
    tree = empty_tree()
    initrd.merge(tree, part("ext4", f"lib/modules/{RELEASE}/kernel/ext4.ko.xz"), RELEASE)
    with pytest.raises(UserError) as error:
        initrd.merge(tree, part("xfs", "lib/modules/6.12.107/kernel/xfs.ko.xz"), RELEASE)
    for word in ("guest/installer.lock", "xfs", "6.12.107", RELEASE, "./doit lock"):
        assert word in str(error.value)
    assert "Package: xfs" not in tree[udeb.STATUS].content.decode()


def pin(name: str, digest: str = "a", version: str = "1") -> Pin:
    return Pin(f"pool/{name}_{version}.udeb", digest * 64, size=1, name=name, version=version)


def test_the_key_depends_on_every_pin_and_not_on_their_order() -> None:
    pins = [pin("x", "a"), pin("y", "b")]
    assert initrd.key(pins, "") == initrd.key(pins[::-1], "")
    assert (
        len({initrd.key(pins, ""), initrd.key(pins[:1], ""), initrd.key([pin("x", "c"), pins[1]], "")}) == 3
    )
    assert initrd.key(pins, "") != initrd.key(pins, "another build root")


def test_the_committed_lock_is_one_netboot_package_and_parts_for_one_kernel() -> None:
    pins = initrd.load_lock()
    assert pins == sorted(pins, key=lambda one: one.rank)
    assert [one.name for one in pins].count(initrd.NETBOOT) == 1
    releases = {found[1] for one in pins if (found := re.search(r"-modules-(.*)-di$", one.name))}
    assert len(releases) == 1
    assert all(
        one.path.startswith("pool/") and one.path.endswith(("amd64.udeb", "all.udeb", "all.deb"))
        for one in pins
    )


def test_a_lock_that_is_not_fetched_or_without_the_netboot_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"guest/installer\.lock: x is not fetched"):
        initrd.build_initrd([pin("x")], open_at(tmp_path / "log"))
    fetch.local(pin("x").sha256).parent.mkdir(parents=True)
    fetch.local(pin("x").sha256).touch()
    with pytest.raises(UserError, match=r"guest/installer\.lock pins no debian-installer"):
        initrd.build_initrd([pin("x")], open_at(tmp_path / "log"))


def entries(menu: str) -> dict[str, list[str]]:
    """The words of each entry's kernel line, split as GRUB's shell does."""
    found = re.findall(r"^menuentry .* --id (\w+) \{\n  linux /install/linux (.*)$", menu, re.M)
    return {name: shlex.split(line) for name, line in found}


def test_the_menu_by_hand_is_the_golden_one() -> None:
    assert medium.render_menu(False, [], "video") == (paths.GOLDEN / "installer-grub.cfg").read_text()


def test_the_menu_of_an_unattended_install() -> None:
    menu = medium.render_menu(True, ["auto=true", "a b", "---", "quiet"], "serial")
    assert "set timeout=1\n" in menu
    assert "set default=serial\n" in menu
    assert menu.count("initrd /install/initrd /install/answers\n") == 2
    assert entries(menu) == {
        "video": ["auto=true", "a b", "---", "quiet", "console=tty0", "$extra"],
        "serial": ["auto=true", "a b", "---", "quiet", "console=ttyS0,115200n8", "$extra"],
    }


def test_equal_content_gives_equal_ids() -> None:
    assert medium.ids_for("one medium") == IDS
    other = medium.ids_for("another")
    assert len({*vars(IDS).values(), *vars(other).values()}) == 6
    assert re.fullmatch(r"[0-9A-F]{8}", IDS.esp_serial)


def test_the_loader_finds_its_own_medium_and_no_other() -> None:
    assert medium.early_config(IDS) == (
        f"search --no-floppy --file --set=root /{IDS.mark}\nset prefix=($root)/boot/grub\n"
    )
    assert f"touch tree/{IDS.mark}\n" in medium.script(IDS, False)


def test_the_loader_holds_what_the_menu_and_the_early_configuration_use() -> None:
    loader = medium.plan_loader("loader")
    named = set(re.findall(r"^insmod (\w+)", medium.render_menu(True, [], "video"), re.M))
    assert named and named <= set(loader)
    assert {"linux", "normal", "search", "search_fs_file", "iso9660", "fat", "part_gpt"} <= set(loader)


def test_the_iso_draws_no_id_and_reads_no_configuration() -> None:
    argv = medium.plan_iso(IDS)
    assert argv[argv.index("--gpt_disk_guid") + 1] == IDS.disk_guid
    assert argv[1] == "-no_rc"
    script = medium.script(IDS, False)
    assert f"-N {IDS.esp_serial}" in script and "MTOOLSRC=/dev/null" in script


def test_answers_are_on_the_medium_only_if_there_are_some() -> None:
    assert "mv linux initrd answers tree/install\n" in medium.script(IDS, True)
    assert "mv linux initrd tree/install\n" in medium.script(IDS, False)


def stanza(name: str, version: str, **fields: str) -> Stanza:
    rest = {"Filename": f"pool/{name}_{version}.udeb", "Size": "1", "SHA256": "a" * 64}
    return {"Package": name, "Version": version, **rest, **fields}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The pool paths of the files in the archive."""
    found: set[str] = set()

    def is_offered(path: str, mirrors: Sequence[str]) -> bool:
        assert mirrors == ARCHIVES
        return path in found

    monkeypatch.setattr(fetch, "is_offered", is_offered)
    return found


def test_a_part_that_is_listed_but_not_held_is_stood_in_for(held: set[str]) -> None:
    new, old = pin("e2fsprogs", version="12"), pin("e2fsprogs", version="11")
    held.add(old.path)
    lines = ["guest/installer.lock: the archive does not hold e2fsprogs 12; 11 stays"]
    assert installer_lock.stand_in(new, [old, pin("other")], ARCHIVES) == (old, lines)
    held.add(new.path)
    assert installer_lock.stand_in(new, [old], ARCHIVES) == (new, [])
    held.clear()
    gone = [f"guest/installer.lock: the archive does not hold e2fsprogs {number}" for number in (12, 11)]
    assert installer_lock.stand_in(new, [old], ARCHIVES) == (None, gone)


def test_only_parts_for_the_kernel_are_taken_and_none_that_is_there() -> None:
    tree = empty_tree()
    udeb.add(tree, part("di-utils"))
    wanted, _ = closure.parse_seeds((paths.GUEST / "installer.seeds").read_text())
    modules = [name for name in wanted if name.endswith("-modules")]
    parts = [
        stanza("di-utils", "1"),
        *(stanza(name, "1", Depends="di-utils") for name in wanted if name not in modules),
        *(
            stanza(f"{name}-{release}-di", "1", Provides=name, **{"Kernel-Version": release})
            for name in modules
            for release in ("6.12.107", RELEASE)
        ),
    ]
    found = {one.name for one in installer_lock.closure(parts, tree, RELEASE)}
    assert found == {name if name not in modules else f"{name}-{RELEASE}-di" for name in wanted}
    with pytest.raises(UserError, match=r"guest/installer\.seeds: the archive has no package ata-modules"):
        installer_lock.closure(parts, tree, "6.1")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of one netboot package and one part; the archive's index lists newer ones for a newer kernel."""
    file = tmp_path / "installer.lock"
    indexes = {
        index.PACKAGES: [stanza(initrd.NETBOOT, "7")],
        index.UDEBS: [stanza("ext4", "2"), stanza("xfs", "2", **{"Kernel-Version": "7"})],
    }
    seeds = tmp_path / "installer.seeds"
    seeds.write_text("ext4\nxfs\n")
    file.write_text(render_lock([pin(initrd.NETBOOT, version="6"), pin("ext4"), pin("xfs", "b")]))
    monkeypatch.setattr(paths, "GUEST", tmp_path)
    monkeypatch.setattr(signature, "signed_release", lambda shop: "release")
    monkeypatch.setattr(signature, "index", lambda name, release, mirrors: indexes[name])
    monkeypatch.setattr(fetch, "fetch", lambda pin, mirrors, progress: Path(pin.places(mirrors)[0]))
    monkeypatch.setattr(
        initrd, "read_netboot", lambda file: (bzimage(str(file).partition("_")[2][0]), empty_tree())
    )
    return file


def path_of(name: str, version: str) -> str:
    return f"pool/{name}_{version}.udeb"


def test_a_whole_new_set_is_taken(lock: Path, held: set[str]) -> None:
    held |= {path_of(initrd.NETBOOT, "7"), path_of("ext4", "2"), path_of("xfs", "2")}
    outcome = installer_lock.renew(replace(open_at(lock), named=tuple(ARCHIVES)))
    assert (outcome.pins, outcome.missing) == (3, ())
    assert "xfs: 1 -> 2" in outcome.changed
    assert {one.version for one in initrd.load_lock()} == {"7", "2"}


def test_a_set_with_a_gap_leaves_the_lock_as_it_is_and_names_what_is_lost(lock: Path, held: set[str]) -> None:
    before = lock.read_text()
    held |= {path_of(initrd.NETBOOT, "7"), path_of(initrd.NETBOOT, "6"), path_of("ext4", "2")}
    outcome = installer_lock.renew(replace(open_at(lock), named=tuple(ARCHIVES)))
    assert lock.read_text() == before
    assert (outcome.pins, outcome.changed) == (3, ())
    assert outcome.missing == (
        "guest/installer.lock: the archive does not hold xfs 2",
        "guest/installer.lock: the archive does not hold xfs 1",
        f"{initrd.NETBOOT} 6, Linux 6: guest/installer.seeds: the archive has no package xfs",
        "guest/installer.lock: the archive does not hold ext4 1",
        "guest/installer.lock stays unchanged",
    )
