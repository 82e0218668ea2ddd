"""The templates of rootfs/, rendered for machines of every kind."""

import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.base.paths import GOLDEN, ROOTFS, TREE
from hostwright.image import grub
from hostwright.image.host_values import host_values
from hostwright.image.templates import grub_word, render_text
from hostwright.machine.cmdline import serial_lines
from hostwright.machine.load import load
from hostwright.proof.boot import drop_password

TEMPLATES = sorted(path.relative_to(ROOTFS).as_posix() for path in ROOTFS.rglob("*.j2"))
HOSTS = [TREE / "host.toml", *sorted((TREE / "hosts").glob("*.toml"))]
NAME = 'name = "test"\n'


def render(template: str, host: Path) -> str:
    values = {**host_values(load(host), "6.12.1"), "build_id": "0123456789abcdef"}
    return render_text((ROOTFS / template).read_text(), template, values)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Where a test writes its host.toml."""
    return tmp_path / "host.toml"


def boot_entries(text: str) -> dict[str, list[str]]:
    """The words of each entry's kernel line, as GRUB's shell parts and unquotes them."""
    found = re.findall(r'^menuentry .* --id "\$slot-(\w+)" .*\{\n  set root="\$2"\n  (linux .*)$', text, re.M)
    return {name: shlex.split(line) for name, line in found}


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("machine", HOSTS, ids=lambda path: path.stem)
def test_every_template_renders_for_every_machine(template: str, machine: Path) -> None:
    text = render(template, machine)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    # The findings have placeholders, for values of the host.
    assert "{" not in text or template in ("boot/grub/grub.cfg.j2", "usr/libexec/hostwright/findings.j2")


GOLDEN_FILES = {
    "boot/grub/grub.cfg.j2": "grub.cfg",
    "etc/inittab.j2": "inittab",
    "etc/modprobe.d/vfio.conf.j2": "vfio.conf",
    "etc/modules.j2": "modules",
    "etc/hostwright/devices.j2": "devices",
}


@pytest.mark.parametrize("template", GOLDEN_FILES)
def test_the_lab_gets_the_agreed_files(template: str) -> None:
    assert render(template, TREE / "host.toml") == (GOLDEN / GOLDEN_FILES[template]).read_text()


# ---- grub.cfg


def test_grub_has_three_entries_that_differ_as_they_should(host: Path) -> None:
    host.write_text(
        NAME
        + '[iommu]\nacs_override = ["downstream"]\nextra = ["intel_iommu=sm_on"]\n[kernel]\ncmdline = ["quiet"]\n'
    )
    entries = boot_entries(render("boot/grub/grub.cfg.j2", host))
    start = ["linux", "/boot/vmlinuz", "root=PARTUUID=$3", "ro", "rootwait", "init=/sbin/init"]
    start += ["console=tty0", "console=ttyS0,115200"]
    passthrough = ["iommu=pt", "intel_iommu=on", "pcie_acs_override=downstream", "intel_iommu=sm_on", "quiet"]
    assert entries == {
        "normal": [*start, *passthrough, "$extra"],
        "fallback": [*start, "quiet", "hostwright.nopassthrough", "$extra"],
        "selfcheck": [*start, *passthrough, "hostwright.selfcheck", "$extra"],
    }


def test_grub_on_amd_gives_no_word_of_intel(host: Path) -> None:
    host.write_text(NAME + '[iommu]\nvendor = "amd"\n')
    words = boot_entries(render("boot/grub/grub.cfg.j2", host))["normal"]
    assert "iommu=pt" in words
    assert not any(word.startswith(("intel_iommu", "pcie_acs_override")) for word in words)


def test_grub_quotes_what_its_shell_would_read_otherwise(host: Path) -> None:
    host.write_text(NAME + '[iommu]\nextra = ["pci=config_acs=10x@pci:0:0;x@0:1.0"]\n')
    text = render("boot/grub/grub.cfg.j2", host)
    assert " 'pci=config_acs=10x@pci:0:0;x@0:1.0' " in text
    assert "pci=config_acs=10x@pci:0:0;x@0:1.0" in boot_entries(text)["normal"]


EARLY_IMAGES = (
    ('microcode = "ucode.img"', 3),
    ('firmware = ["bnx2", "amd64-microcode"]', 3),
    ('firmware = ["bnx2"]', 0),
    ("", 0),
)


@pytest.mark.parametrize("given, initrds", EARLY_IMAGES)
def test_grub_loads_microcode_when_the_machine_has_some(host: Path, given: str, initrds: int) -> None:
    (host.parent / "ucode.img").write_bytes(b"070701" + b"0" * 100)
    host.write_text(f"{NAME}[kernel]\n{given}\n")
    assert render("boot/grub/grub.cfg.j2", host).count("\n  initrd /boot/microcode.img\n") == initrds


def test_a_serial_line_of_the_machine_replaces_the_first_port(host: Path) -> None:
    """Linux takes the first serial console that is named; its last console= is /dev/console, for the self-check."""
    host.write_text(NAME + '[kernel]\ncmdline = ["console=ttyS1,57600n8"]\n')
    text = render("boot/grub/grub.cfg.j2", host)
    assert "    if serial --unit=1 --speed=57600; then\n" in text
    consoles = [word for word in boot_entries(text)["normal"] if word.startswith("console=")]
    assert consoles == ["console=tty0", "console=ttyS1,57600n8"]
    gettys = [
        line.split(":", 3)[3] for line in render("etc/inittab.j2", host).splitlines() if "getty ttyS" in line
    ]
    assert gettys == ["/usr/sbin/hostwright-getty ttyS0 115200", "/usr/sbin/hostwright-getty ttyS1 57600"]


SERIAL = {
    "nothing": ([], ((0, 115200),)),
    "no speed": (["console=ttyS2"], ((0, 115200), (2, 9600))),
    "the first port, slower": (["console=ttyS0,9600"], ((0, 9600),)),
    "two": (["console=ttyS1,115200", "console=ttyS0,9600"], ((1, 115200), (0, 9600))),
    "no serial line": (["console=tty1", "xconsole=ttyS3", "console=ttyUSB0"], ((0, 115200),)),
}


@pytest.mark.parametrize("words, lines", SERIAL.values(), ids=SERIAL)
def test_serial_lines(host: Path, words: list[str], lines: tuple[tuple[int, int], ...]) -> None:
    host.write_text(NAME + f"[kernel]\ncmdline = {words}\n".replace("'", '"'))
    assert serial_lines(load(host)) == lines


WORDS = {
    "quiet": "quiet",
    "a=b,c:d.e/f@g%h+i-j_k": "a=b,c:d.e/f@g%h+i-j_k",
    "pci=10x@pci:0;0": "'pci=10x@pci:0;0'",
    "$extra": "'$extra'",
    "a b": "'a b'",
    "it's": "'it'\\''s'",
    "": "''",
    "a\\b": "'a\\b'",
    "#x": "'#x'",
}


@pytest.mark.parametrize("word", WORDS)
def test_grub_word(word: str) -> None:
    assert grub_word(word) == WORDS[word]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_grub_word_stays_one_word(word: str) -> None:
    """A POSIX shell and GRUB's agree on single quotes and the backslash outside of them."""
    assert shlex.split(grub_word(word)) == [word]


# ---- /etc


MODULES = {
    "none given": ([], ["vfio", "vfio_iommu_type1", "vfio_pci", "tun"]),
    "more": (["kvm_intel nested=1"], ["vfio", "vfio_iommu_type1", "vfio_pci", "tun", "kvm_intel nested=1"]),
    "vfio-pci with a parameter": (
        ["igb", "vfio-pci disable_idle_d3=1"],
        ["vfio", "vfio_iommu_type1", "tun", "igb", "vfio-pci disable_idle_d3=1"],
    ),
}


@pytest.mark.parametrize("given, loaded", MODULES.values(), ids=MODULES)
def test_modules_are_those_of_vfio_and_of_the_machine(
    host: Path, given: list[str], loaded: list[str]
) -> None:
    host.write_text(NAME + f"[kernel]\nmodules = {given}\n".replace("'", '"'))
    assert lines_of(render("etc/modules.j2", host)) == loaded


def test_devices_are_named_by_address(host: Path) -> None:
    host.write_text(
        NAME + '[[device]]\naddress = "01:00.0"\n[[device]]\naddress = "82:00.0"\nid = "10de:1e37"\n'
    )
    assert lines_of(render("etc/hostwright/devices.j2", host)) == [
        "0000:01:00.0  # PCI device",
        "0000:82:00.0 10de:1e37  # PCI device",
    ]


def test_vfio_is_never_given_ids(host: Path) -> None:
    host.write_text(NAME + '[[device]]\naddress = "01:00.0"\nid = "10de:1e37"\n')
    lines = lines_of(render("etc/modprobe.d/vfio.conf.j2", host))
    assert not any("ids=" in line for line in lines)
    assert "softdep nvme pre: vfio_pci" in lines


def test_without_devices_no_driver_waits_for_vfio(host: Path) -> None:
    host.write_text(NAME)
    assert lines_of(render("etc/modprobe.d/vfio.conf.j2", host)) == ["options vfio_pci disable_vga=1"]


HASH = "$6$saltsalt$" + "a" * 86


@pytest.mark.parametrize("given, field", [("", "*"), (f'root_password_hash = "{HASH}"', HASH)])
def test_root_is_locked_unless_a_hash_is_given(host: Path, given: str, field: str) -> None:
    host.write_text(f"{NAME}[access]\n{given}\n")
    lines = render("etc/shadow.j2", host).splitlines()
    assert lines[0] == f"root:{field}:::::::"
    assert all(line.split(":")[1] == "*" for line in lines[1:])
    users = [line.split(":")[0] for line in render("etc/passwd.j2", host).splitlines()]
    assert [line.split(":")[0] for line in lines] == users


# ---- the boot menu's password

GRUB_HASH = f"grub.pbkdf2.sha512.10000.{'0F' * 64}.{'A1' * 64}"


def test_the_menu_with_a_password_is_the_agreed_one(host: Path) -> None:
    lab = (TREE / "host.toml").read_text()
    host.write_text(f'{lab}\n[access]\ngrub_password = "{GRUB_HASH}"\n')
    assert render("boot/grub/grub.cfg.j2", host) == (GOLDEN / "grub-password.cfg").read_text()


def test_the_password_closes_the_editor_and_no_entry(host: Path) -> None:
    plain = render("boot/grub/grub.cfg.j2", TREE / "host.toml")
    host.write_text(f'{NAME}[access]\ngrub_password = "{GRUB_HASH}"\n')
    text = render("boot/grub/grub.cfg.j2", host)
    entries = [line for line in text.splitlines() if line.startswith("menuentry ")]
    assert len(entries) == 3
    assert all(" --unrestricted " in line for line in entries)
    assert f"\n  set superusers=root\n  password_pbkdf2 root {GRUB_HASH}\n" in text
    assert not re.search("superusers|^ *password", plain, re.M)
    # The core finds no module on the disk.
    assert "password_pbkdf2" in grub.MODULES


def test_the_proof_reaches_the_prompt_of_a_menu_with_a_password(host: Path) -> None:
    host.write_text(f'{NAME}[access]\ngrub_password = "{GRUB_HASH}"\n')
    opened = drop_password(render("boot/grub/grub.cfg.j2", host))
    assert "menuentry" in opened
    assert not re.search("superusers=|^ *password", opened, re.M)


# ---- templates that are wrong


WRONG = {
    "{{ nothing }}": "t.j2, line 1: 'nothing' is undefined",
    "a\n{{ machine.nam }}": "t.j2, line 2: 'hostwright.machine.model.Machine object' has no attribute 'nam'",
    "a\n\n{% for x in machine.gests %}{% endfor %}": "t.j2, line 3: ",
    "{% if machine.nothing %}x{% endif %}": "t.j2, line 1: ",
    "a\n{% if %}": "t.j2, line 2: Expected an expression",
    "{{ machine | nofilter }}": "t.j2, line 1: No filter named 'nofilter'",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_template_is_an_error_that_names_file_line_and_variable(text: str) -> None:
    with pytest.raises(UserError) as raised:
        render_text(text, "t.j2", host_values(load(TREE / "host.toml"), "6.12.1"))
    assert raised.value.message.startswith(WRONG[text])
    assert raised.value.hint


def test_the_hint_names_what_there_is() -> None:
    with pytest.raises(UserError) as raised:
        render_text("{{ ns }}", "t.j2", {"ids": 1, "machine": 2})
    assert raised.value.hint == "the template may name ids, machine and their attributes"


def test_no_character_of_a_value_is_escaped_and_the_last_newline_stays() -> None:
    assert render_text("{{ a }}\n", "t.j2", {"a": "<&'\">"}) == "<&'\">\n"
