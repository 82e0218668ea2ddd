"""Hostile values on their way through every template: of host.toml, of a guest's answers, of the path of dist/."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hostwright.base import page
from hostwright.base.errors import UserError
from hostwright.base.escape import visible
from hostwright.base.paths import GUEST, ROOTFS, TREE
from hostwright.guest import medium, preseed
from hostwright.image.host_values import host_values
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from hostwright.vm import guest_argv

PIECES = (
    *("\n", "\r", "\t", "\x1b[2J", "\x00", "\x7f", "\x9b", "\u202e", "\u2028", " ", "a", "0", "-", "_", "."),
    *(
        "<script>",
        "</pre>",
        "]]>",
        "&",
        '"',
        "'",
        ",",
        ";",
        "%",
        "#",
        "$(reboot)",
        "`reboot`",
        "\\",
        "{{",
        "}}",
        "{%",
    ),
    *("\noptions attempts:9", "\nPermitRootLogin yes", "' }\nmenuentry x {", "root::0:0:::"),
)
HOSTILE = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
GUEST_HEAD = '[[guest]]\nname = "g"\nmemory_mib = 256\nmac = "52:54:00:00:00:01"\n'
INSTALL = f"{GUEST_HEAD}[guest.install]\n"
STORAGE = 'name = "lab"\n[[storage]]\nname = "fast"\nuuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"\n'
# Every text of host.toml that a template prints: where it stands, and a good beginning.
KEYS = {
    "name": ("name = @", "lab"),
    "hostname": ('name = "lab"\nhostname = @', "lab"),
    "timezone": ('name = "lab"\ntimezone = @', "Europe/Berlin"),
    "iommu.extra": ('name = "lab"\n[iommu]\nextra = [@]', "pci=noaer"),
    "kernel.cmdline": ('name = "lab"\n[kernel]\ncmdline = [@]', "quiet"),
    "kernel.modules": ('name = "lab"\n[kernel]\nmodules = [@]', "igb"),
    "device.label": ('name = "lab"\n[[device]]\naddress = "82:00.0"\nlabel = @', "T10"),
    "access.root_password_hash": ('name = "lab"\n[access]\nroot_password_hash = @', "$6$salt$" + "a" * 86),
    "access.grub_password": (
        'name = "lab"\n[access]\ngrub_password = @', f"grub.pbkdf2.sha512.10000.{'00' * 64}.{'11' * 64}"
    ),
    "network.bridge": ('name = "lab"\n[network]\nbridge = @', "br0"),
    "network.nic": ('name = "lab"\n[network]\nnic = @', "eno1"),
    "network.address": ('name = "lab"\n[network]\nnic = "eno1"\naddress = @', "192.168.1.10/24"),
    "network.gateway": ('name = "lab"\n[network]\nnic = "e"\naddress = "10.0.0.2/24"\ngateway = @', "10.0.0.1"),
    "network.timeservers": ('name = "lab"\n[network]\ntimeservers = [@]', "time.example.org"),
    "network.nameservers": ('name = "lab"\n[network]\nnameservers = [@]', "fe80::1%a"),
    "network.inbound": ('name = "lab"\n[network]\ninbound = [@]', "tcp/443"),
    "storage.name": ('name = "lab"\n[[storage]]\nuuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"\nname = @', "fast"),
    "storage.uuid": ('name = "lab"\n[[storage]]\nname = "fast"\nuuid = @', "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"),
    "storage.mount": (f"{STORAGE}mount = @", "/srv/fast"),
    "storage.options": (f"{STORAGE}options = [@]", "discard"),
    "install.user": (f'name = "lab"\n{INSTALL}user = @', "debian"),
    "install.locale": (f'name = "lab"\n{INSTALL}locale = @', "de_DE.UTF-8"),
    "install.keyboard": (f'name = "lab"\n{INSTALL}keyboard = @', "de"),
    "install.timezone": (f'name = "lab"\n{INSTALL}timezone = @', "Europe/Berlin"),
    "install.packages": (f'name = "lab"\n{INSTALL}packages = [@]', "htop"),
    "install.cmdline": (f'name = "lab"\n{INSTALL}cmdline = [@]', "quiet"),
    "install.preseed": (f'name = "lab"\n{INSTALL}preseed = [@]', "d-i a/b string c"),
}  # fmt: skip
LAB_GUEST = load(TREE / "host.toml").guests[0]
TEMPLATES = sorted(ROOTFS.rglob("*.j2"))


def render_all(folder: Path, content: str) -> dict[str, str]:
    """Every file that host.toml decides about, by the name of its template."""
    path = folder / "host.toml"
    path.write_text(content)
    machine = load(path)
    values = {**host_values(machine, "6.12.1"), "build_id": "0123456789abcdef"}
    files = {file.name: render_text(file.read_text(), file.name, values) for file in TEMPLATES}
    for guest in machine.guests:
        files["preseed"] = preseed.render(machine, guest, "10.0.2.2:80")
        files["menu"] = medium.render_menu(True, guest.install.cmdline, "serial")
    return files


# What each key gives with a good value.
BENIGN: dict[str, dict[str, str]] = {}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(KEYS)), hostile=HOSTILE)
@example(key="network.nameservers", hostile="\noptions attempts:9")
@example(key="network.nameservers", hostile="")
def test_what_the_grammar_takes_adds_no_line_to_any_file(tmp_path: Path, key: str, hostile: str) -> None:
    form, good = KEYS[key]
    if key not in BENIGN:
        BENIGN[key] = render_all(tmp_path, form.replace("@", json.dumps(good)))
    benign = BENIGN[key]
    try:
        files = render_all(tmp_path, form.replace("@", json.dumps(good + hostile)))
    except UserError as error:
        assert error.hint or error.message
        return
    for name, text in files.items():
        assert len(text.split("\n")) == len(benign[name].split("\n")), name
        assert visible(text) == text, name


class Tags(HTMLParser):
    """The tags of a page in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def report(text: str) -> str:
    """The report of an install in which a guest has said `text` wherever it can."""
    facts: Mapping[str, object] = {
        **dict.fromkeys(("kernel", "boot_entry", "seconds_to_userland", "lspci"), text),
        "network": {text: text},
        "login": True,
        "accepts_password": False,
        "failed_units": [text, text],
    }
    values = {
        "guest": {"name": text},
        "manifest": {
            "suite": text, "packages": [(text, text)], "accelerator": text, "check": {text: facts},
        },
        "took": text,
        "style": page.STYLE,
    }  # fmt: skip
    return render_text((GUEST / "report.html.j2").read_text(), "report.html.j2", values)


@settings(deadline=None)
@given(HOSTILE)
@example("<script>alert(1)</script>")
def test_a_guest_adds_no_tag_to_its_report(hostile: str) -> None:
    text = report(hostile)
    assert Tags(text).found == Tags(report("plain")).found
    assert visible(text) == text
    assert page.STYLE in text


@settings(deadline=None)
@given(HOSTILE)
def test_the_path_of_a_guest_is_the_same_in_xml_and_on_qemus_command_line(hostile: str) -> None:
    # A path has no zero byte, and QEMU's arguments are written a line each.
    folder = "/home/me/" + re.sub(r"[\0\n]", "", hostile) + "/dist"
    values = {"guest": LAB_GUEST, "vm": guest_argv, "folder": folder, "passed": []}
    xml = ElementTree.fromstring(render_text((GUEST / "guest.xml.j2").read_text(), "guest.xml.j2", values))
    source = xml.find("devices/disk/source")
    assert source is not None
    assert source.attrib["file"] == f"{visible(folder)}/{guest_argv.DISK}".replace("\t", " ")
    argv = guest_argv.plan_launch(LAB_GUEST, folder)
    (drive,) = [word for word in argv if word.startswith("if=none,id=root,")]
    parts = [part.replace(",,", ",") for part in re.findall(r"(?:,,|[^,])+", drive)]
    assert f"file={folder}/{guest_argv.DISK}" in parts
    assert f"file:{folder}/{guest_argv.CONSOLE_LOG}" in argv


@pytest.mark.parametrize("suffix", [".html.j2", ".xml.j2"])
def test_a_value_that_is_escaped_already_is_not_escaped_again(suffix: str) -> None:
    assert render_text("{{ x | e }}{{ x }}", f"t{suffix}", {"x": "<"}).count("&lt;") == 2
