"""Installer parts unpacked into the tree of an initramfs; the test makes the parts."""

import io
import stat
import tarfile
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.formats.cpio import FOLDER_MODE, Entry
from hostwright.guest import udeb
from tests.unit.formats.test_deb import member

FILE = stat.S_IFREG | 0o644
PROGRAM = stat.S_IFREG | 0o755
LINK = stat.S_IFLNK | 0o777

STATUS = b"""\
Package: anna
Status: install ok unpacked
Version: 1
Depends: cdebconf-udeb

Package: cdebconf-newt-udeb
Status: install ok unpacked
Version: 2
Provides: cdebconf-frontend, newt

"""

CONTROL = """\
Package: partman-base
Source: partman
Version: 229
Architecture: amd64
Maintainer: Somebody <x@example.org>
Installed-Size: 7
Provides: made-filesystems,
 mounted-partitions
Depends: di-utils (>= 1.1), harddrive-detection
Section: debian-installer
Priority: standard
Description: Partition the disk
 More about it.
Installer-Menu-Item: 4200
"""

TEMPLATES = r"""Template: partman/method
Type: select
Choices: Guided\, all, By hand
Choices-de.UTF-8: Gef., Von Hand
Default: By hand
Description: How?
 At length.
Description-de.UTF-8: Wie?

Template: partman/level
Type: select
Choices-C: low, high
Choices: Low priority, High priority
Description: Level

Template: partman/disk
Type: select
Choices: ${DISKS}, None

Template: partman/no_root
Type: error
Description: No root file system
"""


def tar(entries: dict[str, tuple[int, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:xz") as archive:
        for path, (mode, content) in entries.items():
            info = tarfile.TarInfo(f"./{path}")
            info.mode, info.size = mode & 0o7777, len(content)
            if stat.S_ISDIR(mode):
                info.type, info.size = tarfile.DIRTYPE, 0
            elif stat.S_ISLNK(mode):
                info.type, info.linkname, info.size = tarfile.SYMTYPE, content.decode(), 0
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def make_udeb(
    file: Path, control: str, scripts: dict[str, bytes], data: dict[str, tuple[int, bytes]]
) -> udeb.Part:
    members = {
        "control": (FILE, control.encode()),
        **{name: (PROGRAM, text) for name, text in scripts.items()},
    }
    file.write_bytes(
        b"!<arch>\n"
        + member("debian-binary", b"2.0\n")
        + member("control.tar.xz", tar(members))
        + member("data.tar.xz", tar(data))
    )
    return udeb.read_part(file)


@pytest.fixture
def partman(tmp_path: Path) -> udeb.Part:
    scripts = {"postinst": b"#!/bin/sh\n", "templates": TEMPLATES.encode(), "md5sums": b"unused"}
    data = {"bin": (FOLDER_MODE, b""), "bin/partman": (PROGRAM, b"program"), "usr/share/x/y": (FILE, b"y")}
    return make_udeb(tmp_path / "partman.udeb", CONTROL, scripts, data)


def tree() -> udeb.Tree:
    entries = [
        Entry("bin", LINK, b"usr/bin"),
        Entry("usr", FOLDER_MODE),
        Entry("usr/bin", FOLDER_MODE),
        Entry("usr/bin/anna", PROGRAM, b"anna"),
        Entry(udeb.STATUS, FILE, STATUS),
        Entry("var/lib/dpkg/info/anna.postinst", PROGRAM, b"#!/bin/sh\n"),
        Entry("var/lib/dpkg/info/anna.templates", FILE, b"Template: anna/x\nType: note\nDescription: x\n"),
    ]
    return {entry.path: entry for entry in entries}


def test_files_land_where_links_lead(partman: udeb.Part) -> None:
    grown = tree()
    udeb.add(grown, partman)
    assert grown["bin"].is_link
    assert grown["usr/bin/partman"] == Entry("usr/bin/partman", PROGRAM, b"program")
    assert grown["usr/share/x"].is_folder
    assert "bin/partman" not in grown


def test_the_status_gains_what_the_main_menu_reads(partman: udeb.Part) -> None:
    grown = tree()
    udeb.add(grown, partman)
    assert grown[udeb.STATUS].content == STATUS + (
        b"Package: partman-base\nStatus: install ok unpacked\nVersion: 229\n"
        b"Provides: made-filesystems, mounted-partitions\nDepends: di-utils (>= 1.1), harddrive-detection\n"
        b"Description: Partition the disk\nInstaller-Menu-Item: 4200\n\n"
    )
    assert [stanza["Package"] for stanza in udeb.installed(grown)] == [
        "anna",
        "cdebconf-newt-udeb",
        "partman-base",
    ]
    assert udeb.provided(grown) >= {"anna", "newt", "cdebconf-frontend", "partman-base", "mounted-partitions"}


def test_scripts_and_templates_are_kept_under_the_name_of_the_part(partman: udeb.Part) -> None:
    grown = tree()
    udeb.add(grown, partman)
    assert grown[f"{udeb.INFO}/partman-base.postinst"].mode == PROGRAM
    assert grown[f"{udeb.INFO}/partman-base.templates"].content == TEMPLATES.encode()
    assert f"{udeb.INFO}/partman-base.md5sums" not in grown
    assert f"{udeb.INFO}/partman-base.control" not in grown


def test_the_same_file_may_come_twice_but_not_another(tmp_path: Path, partman: udeb.Part) -> None:
    grown = tree()
    udeb.add(grown, partman)
    same = make_udeb(
        tmp_path / "a.udeb", "Package: a\nVersion: 1\n", {}, {"usr/bin/partman": (PROGRAM, b"program")}
    )
    udeb.add(grown, same)
    other = make_udeb(
        tmp_path / "b.udeb", "Package: b\nVersion: 1\n", {}, {"bin/partman": (PROGRAM, b"other")}
    )
    with pytest.raises(UserError, match="b contains /usr/bin/partman, but another part"):
        udeb.add(grown, other)


def test_a_part_left_out_leaves_nothing_that_would_run_it() -> None:
    grown = tree()
    udeb.drop(grown, "anna")
    assert [stanza["Package"] for stanza in udeb.installed(grown)] == ["cdebconf-newt-udeb"]
    assert not [path for path in grown if path.startswith(f"{udeb.INFO}/anna.")]
    with pytest.raises(UserError, match="no part anna"):
        udeb.drop(grown, "anna")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("bin/x", "usr/bin/x"),
        ("bin", "bin"),
        ("sbin/x", "usr/bin/x"),
        ("opt/up/bin/x", "usr/bin/x"),
        ("deep/er/x", "usr/bin/x"),
        ("new/x", "new/x"),
    ],
)
def test_links_are_followed_as_a_kernel_does(path: str, found: str) -> None:
    links = {"bin": "usr/bin", "sbin": "/bin", "opt/up": "..", "deep/er": "../bin"}
    assert (
        udeb.resolve({name: Entry(name, LINK, goal.encode()) for name, goal in links.items()}, path) == found
    )


def test_questions_with_owner_type_and_choices(partman: udeb.Part) -> None:
    grown = tree()
    udeb.add(grown, partman)
    assert udeb.find_templates(grown) == {
        "anna/x": udeb.Template("anna", "note", description="x"),
        "partman/method": udeb.Template(
            "partman-base", "select", ("Guided, all", "By hand"), "By hand", "How?"
        ),
        "partman/level": udeb.Template("partman-base", "select", ("low", "high"), "", "Level"),
        "partman/disk": udeb.Template("partman-base", "select"),
        "partman/no_root": udeb.Template("partman-base", "error", description="No root file system"),
    }


def test_the_release_of_modules_with_and_without_merged_folders() -> None:
    files = [
        "lib/modules/6.1/kernel/a.ko.xz",
        "usr/lib/modules/6.2/kernel/b.ko.xz",
        "lib/modules/6.3",
        "usr/share/z",
    ]
    assert udeb.module_releases(Entry(path, FILE) for path in files) == {"6.1", "6.2"}
