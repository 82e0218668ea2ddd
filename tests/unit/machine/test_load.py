"""host.toml: valid and invalid values, and the messages for the latter."""

import json
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.base.paths import TREE
from hostwright.machine import rules, words
from hostwright.machine.cmdline import kernel_words
from hostwright.machine.grammar import Field, Section
from hostwright.machine.load import SCHEMA, fingerprint, load
from hostwright.machine.model import Bond, Bridge, Disk, Machine, Network
from hostwright.vm import guest_argv

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
HASH = "$6$saltsalt$" + "a" * 86
NAME = 'name = "lab"\n'
IOMMU = NAME + "[iommu]\n"
KERNEL = NAME + "[kernel]\n"
ADDRESS = NAME + '[network]\naddress = "10.0.0.2/24"\n'
ROUTED = '[network]\nnic = "a"\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"\n'
BOND = '[[bond]]\nname = "bond0"\nnics = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]\n'
BRIDGE = '[[bridge]]\nname = "lan"\n'
DEVICE = NAME + '[[device]]\naddress = "01:00.0"\n'
GUEST = '[[guest]]\nname = "a"\nmemory_mib = 1024\nmac = "52:54:00:00:00:01"\n'
GUEST_B = '[[guest]]\nname = "b"\nmemory_mib = 1024\nmac = "52:54:00:00:00:02"\n'
UUID = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"
STORAGE = f'[[storage]]\nname = "fast"\nuuid = "{UUID}"\n'
STORAGE_B = '[[storage]]\nname = "slow"\nuuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a41"\n'
GRUB_HASH = f"grub.pbkdf2.sha512.10000.{'0F' * 64}.{'a1' * 64}"
FULL = f"""
name = "full"
hostname = "host.example.org"
timezone = "America/Argentina/Buenos_Aires"
memory_mib = 8192
[iommu]
vendor = "amd"
acs_override = ["id:10DE:1E37", "downstream"]
extra = ["amd_iommu=pgtbl_v2", "pci=config_acs=10x@0000:00:1c.0;x@pci:8086:a110"]
[[device]]
address = "8F:1f.7"
id = "10DE:1E37"
label = "Tesla T10, größer"
[[device]]
address = "0001:00:00.0"
[kernel]
cmdline = ["console=ttyS1,115200", "quiet", "rootwait", "rodata=on", "iommu.strict=1"]
options = ["CONFIG_IGB=m", "CONFIG_A=64", "CONFIG_B=0x1F", 'CONFIG_C="x y"', "CONFIG_D=n", "CONFIG_E=-1"]
modules = ["igb", "kvm_intel nested=1"]
microcode = "ucode.img"
[access]
ssh_keys = ["{ED25519} me@desk"]
root_password_hash = "{HASH}"
grub_password = "{GRUB_HASH}"
[network]
bridge = "br1"
nic = "eth0.10"
address = "192.168.1.10/255.255.255.0"
gateway = "192.168.1.1"
nameservers = ["192.168.1.1", "FD00::1"]
timeservers = ["time.example.org", "FD00::2"]
isolated = false
inbound = ["tcp/443", "udp/51820", "udp/22"]
[[bond]]
name = "bond0"
nics = ["52:54:00:00:00:0A", "eno2"]
mode = "802.3ad"
[[bridge]]
name = "trunk"
nic = "bond0"
[[bridge]]
name = "br20"
nic = "bond0"
vlan = 20
address = "dhcp"
ipv6 = "FD00:20::1/64"
ipv6_gateway = "FE80::1"
[[bridge]]
name = "own"
address = "10.9.0.1/24"
ipv6 = "off"
dhcp_range = "10.9.0.100-10.9.0.199"
nat = false
isolated = false
[disk]
root_mib = 2048
esp_mib = 128
[[guest]]
name = "a"
memory_mib = 4096
vcpus = 4
cpus = "2-5,8"
cpu_weight = 200
disk_gib = 20
mac = "52:54:00:AA:00:01"
devices = ["0000:8f:1f.7"]
[[guest]]
name = "b"
memory_mib = 4096
mac = "52:54:00:aa:00:02"
bridge = "own"
devices = ["8f:1f.7"]
autostart = false
storage = "fast"
[[storage]]
name = "fast"
uuid = "{UUID.upper()}"
[[storage]]
name = "slow"
uuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a41"
mount = "/var/lib/hostwright/storage/a/b-1_C"
type = "xfs"
options = ["ro", "logbufs=8"]
"""


def write(folder: Path, content: str) -> Path:
    path = folder / "host.toml"
    path.write_text(content, encoding="utf-8")
    return path


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


# One key with a bad value, what the file gives and the message repeats, and a part of the remedy.
ONE_KEY = [
    ("memory", "3", 'did you mean "memory_mib"?'),
    ("zzz", "3", "known here: name, hostname"),
    ("disk.root_mb", "9", 'did you mean "root_mib"?'),
    ("device[0].adress", '"02:00.0"', 'did you mean "address"?'),
    ("disk", "5", "[disk] in single brackets"),
    ("guest[0]", "5", "[[guest]] in double brackets"),
    ("name", "3", 'for example: name = "lab"'),
    ("name", '""', 'name = "lab"'),
    ("name", '"a/b"', "something like lab-1"),
    ("name", '"Lab"', "something like lab-1"),
    ("name", '"lab-"', "something like lab-1"),
    ("name", '"lab\\U0000000a"', "something like lab-1"),
    ("name", f'"{"a" * 32}"', "something like lab-1"),
    ("hostname", '"a_b"', "labels of a-z"),
    ("hostname", '"a..b"', "joined by dots"),
    ("hostname", f'"a.{"b" * 63}"', "64 characters at most"),
    ("hostname", '"10.0.0.1"', "a letter into the last label"),
    ("timezone", '"CET"', "Area/City"),
    ("timezone", '"../passwd"', "Area/City"),
    ("timezone", '"Euorpe/Oslo"', 'did you mean "Europe"?'),
    ("timezone", '"Europe/Berln"', 'did you mean "Europe/Berlin"?'),
    ("timezone", '"Etc/Xyzzy"', "tzselect"),
    ("memory_mib", '"8"', "memory_mib = 65536"),
    ("memory_mib", "true", "memory_mib = 65536"),
    ("memory_mib", "4000.0", "memory_mib = 65536"),
    ("memory_mib", "8", "from 1024 to"),
    ("iommu.vendor", '"Intell"', 'did you mean "intel"?'),
    ("iommu.acs_override[0]", '"downstrem"', 'did you mean "downstream"?'),
    ("iommu.acs_override[0]", '"Multifunction"', 'did you mean "multifunction"?'),
    ("iommu.acs_override[0]", '"downstream,multifunction"', "one word an entry"),
    ("iommu.acs_override[0]", '"DOWNSTREAM"', 'did you mean "downstream"?'),
    ("iommu.acs_override[0]", '"yes"', "known here: downstream, multifunction, id:vvvv:dddd"),
    ("iommu.acs_override[0]", '"id:10de"', "four hexadecimal digits each"),
    ("iommu.acs_override[0]", '"ID:10de:1e377"', "four hexadecimal digits each"),
    ("iommu.extra[0]", '"intel_iommu=sm_on,off"', "set iommu.vendor"),
    ("iommu.extra[0]", '"iommu=nopt"', "iommu=pt is set"),
    ("storage[0].name", '"Fast"', "something like lab-1"),
    ("storage[0].uuid", '"/dev/sdb1"', "`blkid` shows"),
    ("storage[0].uuid", '"0b3c8d1e:5f0a4c39:9a3e2f1d:7c6b5a40"', "the file system itself"),
    ("storage[0].uuid", '"Bq5cXZ-kHn1-3oYw-6mJ2-aaaa-bbbb-cccccc"', "the file system itself"),
    ("storage[0].uuid", '"1234-ABCD"', "the file system itself"),
    ("storage[0].mount", '"/"', "below /srv or"),
    ("storage[0].mount", '"/srv"', "below /srv or"),
    ("storage[0].mount", '"/usr/share"', "the system's own"),
    ("storage[0].mount", '"/var/log"', "the system's own"),
    ("storage[0].mount", '"srv/fast"', "below /srv or"),
    ("storage[0].mount", '"/srv/../etc"', "/srv/fast"),
    ("storage[0].mount", '"/srv/a b"', "/srv/fast"),
    ("storage[0].mount", '"/srv/fast/"', "/srv/fast"),
    ("storage[0].mount", '"/srv//fast"', "/srv/fast"),
    ("storage[0].type", '"btrfs"', "known here: ext4, xfs"),
    ("storage[0].options[0]", '"bind"', "leave it out"),
    ("storage[0].options[0]", '"noauto"', "leave it out"),
    ("storage[0].options[0]", '"suid"', "leave it out"),
    ("storage[0].options[0]", '"a,b"', "one word an entry"),
    ("storage[0].options[0]", '"x-mount.mkdir"', "one word an entry"),
    ("guest[0].storage", '"/srv/fast"', "something like lab-1"),
    ("device[0].address", '"x"', "lspci -D"),
    ("device[0].address", '"82:00"', '"82:00.0"'),
    ("device[0].address", '"82:20.0"', "lspci -D"),
    ("device[0].address", '"82:00.8"', "lspci -D"),
    ("device[0].id", '"1e37"', "lspci -nn"),
    ("device[0].id", '"0x10de:0x1e37"', '"10de:1e37"'),
    ("device[0].label", '"a\\U0000000ab"', "one line"),
    ("kernel.modules", '"igb"', 'modules = ["igb"]'),
    ("kernel.modules[0]", '"../x.ko"', "write the name"),
    ("kernel.cmdline[0]", '"a b"', "one word an entry"),
    ("kernel.cmdline[0]", '"a\\U00000009b"', "without spaces"),
    ("kernel.cmdline[0]", '"a=\'"', "quotes and backslashes"),
    ("kernel.cmdline[0]", '"root=/dev/sda1"', "its own root partition"),
    ("kernel.cmdline[0]", '"rw"', "mounts its root"),
    ("kernel.cmdline[0]", '"iommu=pt"', "leave it out"),
    ("kernel.cmdline[0]", '"intel_iommu=on"', "set iommu.vendor"),
    ("kernel.cmdline[0]", '"amd-iommu=off"', "set iommu.vendor"),
    ("kernel.cmdline[0]", '"pcie_acs_override=downstream"', "set iommu.acs_override"),
    ("kernel.cmdline[0]", '"vfio-pci.ids=10de:1e37"', "[[device]]"),
    ("kernel.cmdline[0]", '"hostwright.selfcheck"', "boot entries set it"),
    ("kernel.cmdline[0]", '"--"', "end the kernel's words"),
    ("kernel.cmdline[0]", '"init=/bin/sh"', "starts its own init"),
    ("kernel.cmdline[0]", '"rdinit=/bin/sh"', "starts its own init"),
    ("kernel.cmdline[0]", '"nointremap"', "forge interrupts"),
    ("kernel.cmdline[0]", '"intremap=off"', "forge interrupts"),
    ("kernel.cmdline[0]", '"intremap=nopost,nosid"', "forge interrupts"),
    ("kernel.cmdline[0]", '"vfio_iommu_type1.allow_unsafe_interrupts=1"', "forge interrupts"),
    ("kernel.cmdline[0]", '"vfio-iommu-type1.allow-unsafe-interrupts=Y"', "forge interrupts"),
    ("kernel.cmdline[0]", '"vfio.enable_unsafe_noiommu_mode=1"', "all memory of the host"),
    ("kernel.cmdline[0]", '"mitigations=auto,off"', "reach the host"),
    ("kernel.cmdline[0]", '"nopti"', "reach the host"),
    ("kernel.cmdline[0]", '"nokaslr"', "reach the host"),
    ("kernel.cmdline[0]", '"iommu.strict=0"', "after it was taken back"),
    ("kernel.cmdline[0]", '"pci=config_acs=10x"', "FLAGS@DEVICE"),
    ("iommu.extra[0]", '"nointremap"', "forge interrupts"),
    ("iommu.extra[0]", '"pci=realloc,config_acs=12@0000:00:1c.0"', "up to seven of 0, 1 and x"),
    ("iommu.extra[0]", '"pci=config_acs=10x@pci:0;0"', "BUS:DEVICE.FUNCTION"),
    ("iommu.extra[0]", '"pci=config_acs=10x@pci:0"', "BUS:DEVICE.FUNCTION"),
    ("iommu.extra[0]", '"pci=disable_acs_redir=1c"', "BUS:DEVICE.FUNCTION"),
    ("kernel.modules[0]", '"vfio_pci ids=10de:1e37"', "name the devices by address"),
    ("kernel.modules[0]", '"vfio-pci disable_vga=1 ids=10de:1e37"', "name the devices by address"),
    ("kernel.modules[0]", '"pci-stub ids=10de:1e37"', "name the devices by address"),
    ("kernel.modules[0]", '"options vfio-pci ids=10de:1e37"', "the module itself"),
    ("kernel.modules[0]", '"blacklist nouveau"', "nothing loads a module that is not named"),
    ("kernel.modules[0]", '"vfio_virqfd"', "since Linux 6.2"),
    ("kernel.modules[0]", '"vfio-virqfd x=1"', "since Linux 6.2"),
    ("kernel.modules[0]", '"vfio_iommu_type1 allow_unsafe_interrupts=1"', "forge interrupts"),
    ("kernel.modules[0]", '"kvm_intel =1"', "NAME=VALUE"),
    ("kernel.options[0]", '"IGB=m"', "CONFIG_NAME=y"),
    ("kernel.options[0]", '"CONFIG_IGB = m"', "no space around ="),
    ("kernel.options[0]", '"CONFIG_IGB=yes"', "=y, =m, =n"),
    ("kernel.options[0]", '"CONFIG_A=y\\U0000000aCONFIG_B=y"', "CONFIG_NAME=y"),
    ("kernel.firmware[0]", '"bnx3"', 'did you mean "bnx2"?'),
    ("kernel.firmware[0]", '"firmware-linux"', "known here: intel-microcode, amd64-microcode, bnx2"),
    ("kernel.microcode", '"no.img"', "relative to this file"),
    ("kernel.microcode", '"."', "relative to this file"),
    ("kernel.microcode", '"host.toml"', "early image"),
    ("access.ssh_keys[0]", '"AAAA"', ".pub file"),
    ("access.ssh_keys[0]", '"ssh-dsa AAAA"', 'did you mean "ssh-rsa"?'),
    ("access.ssh_keys[0]", '"ssh-rsa AAA?"', ".pub file"),
    ("access.ssh_keys[0]", '"ssh-rsa"', ".pub file"),
    ("access.ssh_keys[0]", f'"{ED25519[:40]}?{ED25519[40:]}"', ".pub file"),
    ("access.ssh_keys[0]", f'"{ED25519[:-24]}"', ".pub file"),
    ("access.ssh_keys[0]", f'"ssh-rsa {ED25519.split()[1]}"', ".pub file"),
    ("network.bridge", '"bridge0123456789"', "at most 15"),
    ("network.nic", '"eth/0"', "at most 15"),
    ("network.nic", '"lo"', "not lo"),
    ("network.nic", '"br0"', "name the card"),
    ("network.address", '"10.0.0.300/24"', "IPv4/prefix"),
    ("network.address", '"10.0.0.3"', "IPv4/prefix"),
    ("network.address", '"10.0.0.0/24"', "IPv4/prefix"),
    ("network.address", '"10.0.0.255/24"', "IPv4/prefix"),
    ("network.address", '"224.0.0.1/24"', "IPv4/prefix"),
    ("network.address", '"dhcp"', "set network.nic"),
    ("network.gateway", '"router"', "the router's address"),
    ("network.gateway", '"10.0.0.1"', "set network.address"),
    ("network.vlan", "0", "from 1 to 4094"),
    ("network.vlan", "4095", "from 1 to 4094"),
    ("network.vlan", "20", "set network.nic"),
    ("network.ipv6", '"dhcp"', '"auto", "off" or'),
    ("network.ipv6", '"10.0.0.1/24"', '"auto", "off" or'),
    ("network.ipv6", '"fd00::1"', "IPv6/prefix"),
    ("network.ipv6", '"fd00::/64"', "IPv6/prefix"),
    ("network.ipv6", '"fe80::1/64"', "IPv6/prefix"),
    ("network.ipv6", '"ff02::1/64"', "IPv6/prefix"),
    ("network.ipv6", '"fd00::1%a/64"', "IPv6/prefix"),
    ("network.ipv6", '"auto"', "set network.nic"),
    ("network.ipv6", '"off"', "set network.nic or network.address"),
    ("network.nat", "false", "set network.nic or network.address"),
    ("network.nat", '"no"', "true or false"),
    ("network.ipv6_gateway", '"10.0.0.1"', "fe80::1"),
    ("network.ipv6_gateway", '"fe80::1%br0"', "fe80::1"),
    ("network.ipv6_gateway", '"fe80::1"', "set network.ipv6"),
    ("network.dhcp_range", '"10.0.0.2"', "the first and the last"),
    ("network.dhcp_range", '"10.0.0.9-10.0.0.300"', "the first and the last"),
    ("network.dhcp_range", '"10.0.0.9-10.0.0.2"', "the first and the last"),
    ("network.dhcp_range", '"10.0.0.2-10.0.0.9"', "set network.address"),
    ("bond[0].name", '"bond0123456789ab"', "at most 15"),
    ("bond[0].mode", '"lacp"', "known here: active-backup, 802.3ad"),
    ("bond[0].mode", '"802.3AD"', 'did you mean "802.3ad"?'),
    ("bridge[0].name", '"bridge0123456789"', "at most 15"),
    ("bridge[0].name", '"all"', "not lo, all or default"),
    ("bridge[0].nic", '"a"', "name the card"),
    ("bridge[0].nic", '"bond0"', "describe it in a [[bond]] table"),
    ("bridge[0].address", '"dhcp"', "set bridge[0].nic"),
    ("bridge[0].vlan", "4095", "from 1 to 4094"),
    ("bridge[0].ipv6", '"auto"', "set bridge[0].nic"),
    ("bridge[0].gateway", '"10.0.0.1"', "set bridge[0].address"),
    ("bridge[0].dhcp_range", '"10.0.0.2-10.0.0.9"', "set bridge[0].address"),
    ("guest[0].bridge", '"br1"', "describe it in a [[bridge]] table"),
    ("network.nameservers[0]", '"dns.example"', "not a name"),
    ("network.inbound[0]", '"443"', "the protocol and the port"),
    ("network.inbound[0]", '"https"', "the protocol and the port"),
    ("network.inbound[0]", '"443/tcp"', "the protocol and the port"),
    ("network.inbound[0]", '"TCP/443"', "the protocol and the port"),
    ("network.inbound[0]", '"sctp/443"', "the protocol and the port"),
    ("network.inbound[0]", '"tcp/0443"', "the protocol and the port"),
    ("network.inbound[0]", '"tcp/8000-8010"', "the protocol and the port"),
    ("network.inbound[0]", '"tcp/0"', "the protocol and the port"),
    ("network.inbound[0]", '"tcp/65536"', "from 1 to 65535"),
    ("network.inbound[0]", '"tcp/22"', "ssh is always accepted"),
    ("network.timeservers[0]", '"time example"', "labels of a-z"),
    ("network.timeservers[0]", '"10.0.0.300"', "put a letter"),
    ("disk.root_mib", "255", "from 256 to 1048576"),
    ("disk.root_mib", "-1", "from 256 to 1048576"),
    ("disk.esp_mib", "33", "from 34 to 4096"),
    ("guest[0].name", '"../a"', "something like lab-1"),
    ("guest[0].memory_mib", "16", "from 256 to"),
    ("guest[0].vcpus", "0", "from 1 to 255"),
    ("guest[0].disk_gib", "3", "from 4 to"),
    ("guest[0].autostart", "1", "true or false"),
    ("guest[0].mac", '"52:54:00:00"', "six pairs"),
    ("guest[0].mac", '"01:00:00:00:00:01"', '"52:54:00:00:00:01"'),
    ("guest[0].mac", '"00:16:3e:ab:00:01"', '"52:54:00:ab:00:01"'),
    ("guest[0].devices[0]", '"01:00.1"', "[[device]]"),
    ("guest[0].install.user", '"Root"', "begin with a letter"),
    ("guest[0].install.user", '"root"', "another name"),
    ("guest[0].install.ssh_keys[0]", '"ssh-ed25519 AAAA"', ".pub"),
    ("guest[0].install.locale", '"de_DE"', "de_DE.UTF-8"),
    ("guest[0].install.keyboard", '"US"', "XKB"),
    ("guest[0].install.timezone", '"Berlin"', "Area/City"),
    ("guest[0].install.filesystem", '"btrfs"', "ext4"),
    ("guest[0].install.presets[0]", '"dokcer"', 'did you mean "docker"?'),
    ("guest[0].install.packages[0]", '"Htop!"', "apt search"),
    ("guest[0].install.packages[0]", '"openssh-server-"', "with no - at its end"),
    ("guest[0].install.preseed[0]", '"d-i preseed/late_command string true"', "late_commands"),
    ("guest[0].install.preseed[0]", '"d-i preseed/early_command string true"', "late_commands"),
    ("guest[0].install.cmdline[0]", '"init=/bin/sh"', "starts its own init"),
    ("guest[0].install.cmdline[0]", '"root=/dev/vda"', "leave it out"),
    ("guest[0].install.preseed[0]", '"d-i nonsense"', "owner/question"),
    ("guest[0].install.late_commands[0]", '"no-such.sh"', "relative to this file"),
]
# The same where one key is not enough: the file, and line (0: none), key and value of the message.
MORE_KEYS = {
    "empty file": ("", 0, "name", "", 'name = "lab"'),
    "unknown key in quotes": (NAME + '"a\\nb" = 3', 0, '"a\\U0000000ab"', "3", "known here: name"),
    "unknown table": (NAME + "[devices]", 2, "devices", "", 'did you mean "device"?'),
    "one table for an array": (NAME + "[device]", 2, "device", "", "[[device]] in double brackets"),
    "an array for one table": (
        IOMMU.replace("[iommu]", "[[iommu]]") + "extra = []",
        2,
        "iommu",
        "",
        "[iommu] in single brackets",
    ),
    "a date for text": (NAME + "timezone = 2020-01-01", 2, "timezone", "", 'timezone = "Europe/Berlin"'),
    "a list in a list": (KERNEL + 'modules = [["a"]]', 3, "kernel.modules[0]", "", 'modules = ["igb"]'),
    "a huge number": (
        NAME + f"memory_mib = 0x{'f' * 600}",
        2,
        "memory_mib",
        "a number of 2400 bits",
        "1024 to",
    ),
    "address missing": (DEVICE + '[[device]]\nlabel = "a"', 4, "device[1].address", "", 'address = "0000:'),
    "address twice": (
        DEVICE + '[[device]]\naddress = "0000:01:00.0"',
        *(5, "device[1].address", '"0000:01:00.0"', "its own address"),
    ),
    "override id twice": (
        IOMMU + 'acs_override = ["id:10de:1e37", "id:10DE:1E37"]',
        *(3, "iommu.acs_override[1]", '"id:10DE:1E37"', "name it once"),
    ),
    "override of 65 ids": (
        IOMMU + f"acs_override = {[f'id:8086:{number:04x}' for number in range(65)]}",
        *(3, "iommu.acs_override", "", "the kernel keeps 64"),
    ),
    "cmdline too long": (KERNEL + f'cmdline = ["a={"b" * 1700}"]', 3, "kernel.cmdline", "", "shorten"),
    "cmdline twice": (KERNEL + 'cmdline = ["a", "a"]', 3, "kernel.cmdline[1]", '"a"', "name it once"),
    "option twice": (
        KERNEL + 'options = ["CONFIG_IGB=m", "CONFIG_IGB=y"]',
        *(3, "kernel.options[1]", '"CONFIG_IGB=y"', "name it once"),
    ),
    "module twice": (
        KERNEL + 'modules = ["vfio-pci", "vfio_pci x=1"]',
        *(3, "kernel.modules[1]", '"vfio_pci x=1"', "name it once"),
    ),
    "microcode name too long": (
        KERNEL + f'microcode = "{"a" * 5000}"',
        *(3, "kernel.microcode", f'"{"a" * 80}...{"a" * 10}"', "check the path"),
    ),
    "firmware twice": (
        KERNEL + 'firmware = ["bnx2", "bnx2"]',
        *(3, "kernel.firmware[1]", '"bnx2"', "name it once"),
    ),
    "microcode by name and as a file": (
        KERNEL + 'microcode = "noise"\nfirmware = ["bnx2", "intel-microcode"]',
        *(3, "kernel.microcode", '"noise"', "kernel.firmware has intel-microcode"),
    ),
    "ssh key twice": (
        NAME + f'[access]\nssh_keys = ["{ED25519}", "{ED25519} b"]',
        *(3, "access.ssh_keys[1]", f'"{ED25519} b"', "name it once"),
    ),
    "gateway elsewhere": (
        ADDRESS + 'gateway = "10.0.1.1"',
        *(4, "network.gateway", '"10.0.1.1"', "the router's address"),
    ),
    "gateway is the host": (
        ADDRESS + 'gateway = "10.0.0.2"',
        *(4, "network.gateway", '"10.0.0.2"', "the router's address"),
    ),
    "gateway without a card": (
        ADDRESS + 'gateway = "10.0.0.1"',
        *(4, "network.gateway", '"10.0.0.1"', "set network.nic"),
    ),
    "mac of the host's card": (
        NAME + '[network]\nnic = "52:54:00:00:00:01"\n' + GUEST,
        *(7, "guest[0].mac", '"52:54:00:00:00:01"', "a mac of its own"),
    ),
    "gateway leads nowhere": (
        NAME + '[network]\nnic = "a"\n' + BRIDGE + 'address = "10.0.0.2/24"\ngateway = "10.0.0.1"',
        *(7, "bridge[0].gateway", '"10.0.0.1"', "set bridge[0].nic"),
    ),
    "two gateways": (
        NAME + ROUTED + BRIDGE + 'nic = "b"\naddress = "10.1.0.2/24"\ngateway = "10.1.0.1"',
        *(10, "bridge[0].gateway", '"10.1.0.1"', "one default route of a family"),
    ),
    "IPv6 gateway elsewhere": (
        NAME + '[network]\nnic = "a"\nipv6 = "fd00::2/64"\nipv6_gateway = "fd01::1"',
        *(5, "network.ipv6_gateway", '"fd01::1"', "link-local"),
    ),
    "IPv6 gateway is the host": (
        NAME + '[network]\nnic = "a"\nipv6 = "fd00::2/64"\nipv6_gateway = "fd00::2"',
        *(5, "network.ipv6_gateway", '"fd00::2"', "the router's address"),
    ),
    "IPv6 gateway leads nowhere": (
        NAME + BRIDGE + 'ipv6 = "fd00::2/64"\nipv6_gateway = "fe80::1"',
        *(5, "bridge[0].ipv6_gateway", '"fe80::1"', "set bridge[0].nic"),
    ),
    "two bridges of one name": (
        NAME + BRIDGE + BRIDGE,
        *(5, "bridge[1].name", '"lan"', "a name of its own"),
    ),
    "the bridge of the host twice": (
        ADDRESS + '[[bridge]]\nname = "br0"',
        *(5, "bridge[0].name", '"br0"', "a name of its own"),
    ),
    "bond and bridge of one name": (
        NAME + BOND + '[[bridge]]\nname = "bond0"',
        *(6, "bridge[0].name", '"bond0"', "a name of its own"),
    ),
    "a VLAN twice": (
        NAME + BOND + BRIDGE + 'nic = "bond0"\nvlan = 9\n[[bridge]]\nname = "b"\nnic = "a"\nvlan = 9',
        *(12, "bridge[1].vlan", "9", "each VLAN one bridge"),
    ),
    "a bridge named like a VLAN": (
        NAME + '[[bridge]]\nname = "vlan9"\nnic = "a"\nvlan = 9',
        *(5, "bridge[0].vlan", "9", "a name of its own"),
    ),
    "a card in two bridges": (
        NAME + '[network]\nnic = "a"\n' + BRIDGE + 'nic = "a"',
        *(6, "bridge[0].nic", '"a"', "set vlan in all tables but one"),
    ),
    "a card in a bond and a bridge": (
        NAME + BOND + BRIDGE + 'nic = "52:54:00:00:00:0A"',
        *(7, "bridge[0].nic", '"52:54:00:00:00:0A"', 'nic = "bond0"'),
    ),
    "a card in two bonds": (
        NAME + BOND + '[[bond]]\nname = "bond1"\nnics = ["eno1", "52:54:00:00:00:0b"]',
        *(7, "bond[1].nics[1]", '"52:54:00:00:00:0b"', "a card can be in one bond"),
    ),
    "a card twice in a bond": (
        NAME + '[[bond]]\nname = "bond0"\nnics = ["52:54:00:00:00:0a", "52:54:00:00:00:0A"]',
        *(4, "bond[0].nics[1]", '"52:54:00:00:00:0A"', "name it once"),
    ),
    "a bond of one card": (
        NAME + '[[bond]]\nname = "bond0"\nnics = ["eno1"]',
        *(4, "bond[0].nics", "", "2 to 8 cards"),
    ),
    "a bond of nine cards": (
        NAME + f'[[bond]]\nname = "bond0"\nnics = {[f"eno{number}" for number in range(9)]}',
        *(4, "bond[0].nics", "", "2 to 8 cards"),
    ),
    "a bond of bonds": (
        NAME + BOND + '[[bond]]\nname = "bond1"\nnics = ["eno1", "bond0"]',
        *(7, "bond[1].nics[1]", '"bond0"', "name cards"),
    ),
    "a bond that is misspelt": (
        NAME + BOND + '[network]\nnic = "bond1"',
        *(6, "network.nic", '"bond1"', 'did you mean "bond0"?'),
    ),
    "two bridges in one network": (
        ADDRESS + BRIDGE + 'address = "10.0.0.129/25"',
        *(6, "bridge[0].address", '"10.0.0.129/25"', "a network of its own"),
    ),
    "two bridges in one IPv6 network": (
        NAME + BRIDGE + 'ipv6 = "fd00::1/48"\n[[bridge]]\nname = "b"\nipv6 = "fd00::2/64"',
        *(7, "bridge[1].ipv6", '"fd00::2/64"', "a network of its own"),
    ),
    "DHCP on a bridge with a card": (
        NAME + '[network]\nnic = "a"\naddress = "10.0.0.2/24"\ndhcp_range = "10.0.0.9-10.0.0.20"',
        *(5, "network.dhcp_range", '"10.0.0.9-10.0.0.20"', "leave it out"),
    ),
    "DHCP beyond the network": (
        ADDRESS + 'dhcp_range = "10.0.0.9-10.0.1.20"',
        *(4, "network.dhcp_range", '"10.0.0.9-10.0.1.20"', "addresses of guests in it"),
    ),
    "DHCP up to the broadcast address": (
        ADDRESS + 'dhcp_range = "10.0.0.9-10.0.0.255"',
        *(4, "network.dhcp_range", '"10.0.0.9-10.0.0.255"', "its broadcast address"),
    ),
    "DHCP of the host's own address": (
        ADDRESS + 'dhcp_range = "10.0.0.1-10.0.0.9"',
        *(4, "network.dhcp_range", '"10.0.0.1-10.0.0.9"', "the host's address out"),
    ),
    "no translation on a bridge with a card": (
        NAME + '[network]\nnic = "a"\nnat = false',
        *(4, "network.nat", "false", "leave it out"),
    ),
    "an unknown bridge": (
        NAME + BRIDGE + GUEST + 'bridge = "lam"',
        *(8, "guest[0].bridge", '"lam"', 'did you mean "lan"?'),
    ),
    "mac of a bond's card": (
        NAME + BOND.replace("0a", "01") + GUEST,
        *(8, "guest[0].mac", '"52:54:00:00:00:01"', "a mac of its own"),
    ),
    "guest named as another's quick form": (
        NAME + GUEST + GUEST_B.replace('"b"', '"a-fast"'),
        *(7, "guest[1].name", '"a-fast"', "another name"),
    ),
    "more devices than slots": (
        NAME
        + "".join(f'[[device]]\naddress = "01:{number:02x}.0"\n' for number in range(27))
        + GUEST
        + f"devices = {[f'01:{number:02x}.0' for number in range(27)]}",
        *(60, "guest[0].devices", "", "another guest"),
    ),
    "late command that is no text": (
        NAME + GUEST + '[guest.install]\nlate_commands = ["noise"]',
        *(7, "guest[0].install.late_commands[0]", '"noise"', "give a script"),
    ),
    "late command of a name too long": (
        NAME + GUEST + f'[guest.install]\nlate_commands = ["{"a" * 5000}"]',
        *(7, "guest[0].install.late_commands[0]", f'"{"a" * 80}...{"a" * 10}"', "check the path"),
    ),
    "a line separator is no line": (
        NAME + 'device = [{address = "01:00.0", label = "a\u2028b"}, {address = "x"}]',
        *(2, "device[0].label", '"a\\U00002028b"', "one line"),
    ),
    "processors that are no numbers": (
        NAME + GUEST + 'vcpus = 2\ncpus = "a-b"',
        *(7, "guest[0].cpus", '"a-b"', 'as in "2-5,8"'),
    ),
    "processors with a blank": (
        NAME + GUEST + 'vcpus = 2\ncpus = "1, 2"',
        *(7, "guest[0].cpus", '"1, 2"', 'as in "2-5,8"'),
    ),
    "processors twice": (
        NAME + GUEST + 'vcpus = 2\ncpus = "1-3,3"',
        *(7, "guest[0].cpus", '"1-3,3"', "in ascending order"),
    ),
    "processors backwards": (
        NAME + GUEST + 'vcpus = 2\ncpus = "5-2"',
        *(7, "guest[0].cpus", '"5-2"', "in ascending order"),
    ),
    "processors of an empty word": (
        NAME + GUEST + 'vcpus = 2\ncpus = "1,,2"',
        *(7, "guest[0].cpus", '"1,,2"', 'as in "2-5,8"'),
    ),
    "processors too few": (
        NAME + GUEST + 'vcpus = 2\ncpus = "3"',
        *(7, "guest[0].cpus", '"3"', "as many as guest.vcpus"),
    ),
    "guest without a name": (NAME + "[[guest]]\nvcpus = 1", 2, "guest[0].name", "", 'name = "debian"'),
    "guest without memory": (
        NAME + '[[guest]]\nname = "a"',
        2,
        "guest[0].memory_mib",
        "",
        "memory_mib = 4096",
    ),
    "guest without mac": (
        NAME + GUEST.rpartition("mac")[0],
        2,
        "guest[0].mac",
        "",
        'mac = "52:54:00:12:34:56"',
    ),
    "guest name twice": (
        NAME + GUEST + GUEST_B.replace('"b"', '"a"'),
        7,
        "guest[1].name",
        '"a"',
        "its own name",
    ),
    "mac twice": (
        NAME + GUEST + GUEST_B.replace("00:02", "00:01"),
        *(9, "guest[1].mac", '"52:54:00:00:00:01"', "its own mac"),
    ),
    "guest larger than the host": (
        "memory_mib = 1024\n" + NAME + GUEST,
        *(5, "guest[0].memory_mib", "1024", "the host keeps 512 MiB"),
    ),
    "guests larger than the host": (
        "memory_mib = 2048\n" + NAME + GUEST + GUEST_B,
        *(9, "guest[1].memory_mib", "1024", "lower memory_mib"),
    ),
    "guest's device unknown": (
        DEVICE + GUEST + 'devices = ["01:00.1"]',
        *(8, "guest[0].devices[0]", '"01:00.1"', 'did you mean "0000:01:00.0"?'),
    ),
    "guest's device twice": (
        DEVICE + GUEST + 'devices = ["01:00.0", "0000:01:00.0"]',
        *(8, "guest[0].devices[1]", '"0000:01:00.0"', "name it once"),
    ),
    "device in two guests": (
        DEVICE + GUEST + 'devices = ["01:00.0"]\n' + GUEST_B + 'devices = ["01:00.0"]',
        *(13, "guest[1].devices[0]", '"01:00.0"', "set autostart = false"),
    ),
    "storage without a uuid": (NAME + '[[storage]]\nname = "a"', 2, "storage[0].uuid", "", 'uuid = "0b3c'),
    "storage name twice": (
        NAME + STORAGE + STORAGE_B.replace("slow", "fast"),
        *(6, "storage[1].name", '"fast"', "its own name"),
    ),
    "storage uuid twice": (
        NAME + STORAGE + STORAGE_B.replace("5a41", "5A40"),
        *(7, "storage[1].uuid", f'"{UUID[:-4]}5A40"', "its own uuid"),
    ),
    "storage mount twice": (
        NAME + STORAGE + STORAGE_B + 'mount = "/srv/fast"',
        *(8, "storage[1].mount", '"/srv/fast"', "its own mount"),
    ),
    "storage within another": (
        NAME + STORAGE + STORAGE_B + 'mount = "/srv/fast/slow"',
        *(8, "storage[1].mount", '"/srv/fast/slow"', "a place beside it"),
    ),
    "another within the storage": (
        NAME + STORAGE + 'mount = "/srv/slow/fast"\n' + STORAGE_B,
        *(5, "storage[0].mount", '"/srv/slow/fast"', "a place beside it"),
    ),
    "guest's storage unknown": (
        NAME + STORAGE + GUEST + 'storage = "fats"',
        *(9, "guest[0].storage", '"fats"', 'did you mean "fast"?'),
    ),
    "guest's storage without any": (
        NAME + GUEST + 'storage = "fast"',
        *(6, "guest[0].storage", '"fast"', "[[storage]] table"),
    ),
    "an embedded guest elsewhere": (
        NAME + STORAGE + GUEST + 'embed = true\nstorage = "fast"',
        *(10, "guest[0].storage", '"fast"', "leave embed out"),
    ),
    "inline tables": (NAME + 'device = [{address = "1"}]', 2, "device[0].address", '"1"', "lspci -D"),
    "dotted keys": (NAME + "disk.esp_mib = 1", 2, "disk.esp_mib", "1", "from 34 to 4096"),
    "names in quotes": (NAME + '[ "disk" ] # x\n"esp_mib" = 1', 3, "disk.esp_mib", "1", "from 34 to 4096"),
}
# What a table needs besides the key in question, before it.
REQUIRED = {
    "": {"name": '"lab"'},
    "device": {"address": '"01:00.0"'},
    "storage": {"name": '"fast"', "uuid": f'"{UUID}"'},
    "bond": {"name": '"bond0"', "nics": '["a", "b"]'},
    "bridge": {"name": '"a"'},
    "guest": {"name": '"a"', "memory_mib": "1024", "mac": '"52:54:00:00:00:01"'},
}


def place(key: str, value: str) -> str:
    """A file with `key = value` in its last line: `kernel.cmdline[0]`, `guest[0].name`, `disk`."""
    table, _, entry = key.rpartition(".")
    name, _, index = entry.partition("[")
    needed = {
        each: given for each, given in REQUIRED.get(table.removesuffix("[0]"), {}).items() if each != name
    }
    lines = [] if name == "name" and not table else [NAME.strip()]
    if table == "guest[0].install":
        lines += [*GUEST.strip().splitlines(), "[guest.install]"]
    elif table:
        lines.append(f"[[{table[:-3]}]]" if table.endswith("[0]") else f"[{table}]")
        lines += [f"{each} = {given}" for each, given in needed.items()]
    return "\n".join([*lines, f"{name} = [{value}]" if index else f"{name} = {value}"])


def check_message(error: UserError, where: str, key: str, value: str, remedy: str) -> None:
    shown = f"{key} = {value}" if value else key
    assert error.message.startswith(f"{where}: {shown}: ")
    assert remedy in error.hint


@pytest.mark.parametrize(("key", "value", "remedy"), ONE_KEY, ids=lambda each: each[:30])
def test_a_bad_value_is_told_with_line_key_value_and_remedy(
    key: str, value: str, remedy: str, tmp_path: Path
) -> None:
    content = place(key, value)
    path = write(tmp_path, content)
    check_message(refusal(path), f"{path}:{len(content.splitlines())}", key, value, remedy)


@pytest.mark.parametrize("case", MORE_KEYS.values(), ids=MORE_KEYS.keys())
def test_a_mistake_over_several_keys_is_told_the_same_way(
    case: tuple[str, int, str, str, str], tmp_path: Path
) -> None:
    content, line, key, value, remedy = case
    path = write(tmp_path, content)
    (tmp_path / "noise").write_bytes(b"\x7fELF\xff")
    check_message(refusal(path), f"{path}:{line}" if line else str(path), key, value, remedy)


@pytest.mark.parametrize(
    "secret", ["hunter2 hunter2", "$1$salt$hunter2", "hunter2:", "$6$rounds=1$hunter2$x"]
)
def test_what_may_be_a_password_is_not_repeated(secret: str, tmp_path: Path) -> None:
    error = refusal(write(tmp_path, NAME + f'[access]\nroot_password_hash = "{secret}"'))
    assert "host.toml:3: access.root_password_hash: not a crypt hash" in error.message
    assert "openssl passwd -6" in error.hint
    assert "hunter2" not in str(error)


GOOD = ("10000", "AB" * 64, "cd" * 64)


@pytest.mark.parametrize("place, part", [
    (0, "999"), (0, "12345678"), (0, "0x1000"), (1, "AB" * 7), (1, "ABC" * 7), (1, "AG" * 64),
    (2, "cd" * 31), (2, "cd" * 65), (2, "cd" * 64 + "; reboot"), (2, "cd" * 64 + "\\n"),
])  # fmt: skip
def test_what_is_no_hash_of_the_boot_menus_password_is_refused_and_not_repeated(
    place: int, part: str, tmp_path: Path
) -> None:
    given = ".".join(("grub.pbkdf2.sha512", *GOOD[:place], part, *GOOD[place + 1 :]))
    error = refusal(write(tmp_path, NAME + f'[access]\ngrub_password = "{given}"'))
    assert "host.toml:3: access.grub_password: not a grub.pbkdf2.sha512 hash" in error.message
    assert "grub-mkpasswd-pbkdf2" in error.hint
    assert "cdcd" not in str(error)


def test_a_password_in_plain_text_is_no_hash_of_the_boot_menus(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, NAME + '[access]\ngrub_password = "hunter2"'))
    assert "hunter2" not in str(error)


def test_a_private_key_is_not_repeated(tmp_path: Path) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\\nhunter2\\n"
    error = refusal(write(tmp_path, NAME + f'[access]\nssh_keys = ["{key}"]'))
    assert "host.toml:3: access.ssh_keys[0]: this is a private key" in error.message
    assert ".pub" in error.hint
    assert "hunter2" not in str(error)


SYNTAX = {
    "open list": (NAME + "[kernel]\ncmdline = [", ":3"),
    "no quotes": (NAME + "hostname = lab\n", ":2:12"),
    "key twice": (NAME + NAME, ":2:13"),
    "single brackets twice": (NAME + "[disk]\n[disk]\n", ":3:6"),
    "control character": (NAME + 'hostname = "\x01"', ":2:"),
    "too many digits": (NAME + "memory_mib = " + "9" * 5000, ":"),
    "nested too deeply": ("name = " + "[" * 10000, ":"),
}


@pytest.mark.parametrize(("content", "place"), SYNTAX.values(), ids=SYNTAX.keys())
def test_bad_toml_keeps_line_and_column(content: str, place: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    error = refusal(path)
    assert error.message.startswith(f"{path}{place}")
    assert "not valid TOML" in error.message


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path, NAME)
    error = refusal(tmp_path / "hots.toml")
    assert error.message == f"{tmp_path / 'hots.toml'}: this machine file does not exist"
    assert str(path) in error.hint


@pytest.mark.parametrize("name", ["no/such/folder.toml", "a" * 300, "nul\0byte"])
def test_a_path_that_cannot_be_is_an_error(name: str, tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path / name).message


def test_what_is_not_a_file_is_not_opened(tmp_path: Path) -> None:
    assert "is not a file" in refusal(Path("/dev/null")).message
    assert "is not a file" in refusal(tmp_path).message


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_bytes(NAME.encode() + b'hostname = "\xe9"\n')
    assert refusal(path).message == f"{path}:2: not UTF-8 (byte 0xe9)"


def test_an_image_is_not_read_as_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "host.img"
    with path.open("wb") as file:
        file.truncate(2 << 20)
    assert "over 1 MiB" in refusal(path).message


def test_a_name_is_enough(tmp_path: Path) -> None:
    machine = load(write(tmp_path, NAME))
    assert (machine.name, machine.hostname, machine.timezone, machine.memory_mib) == (
        "lab",
        "lab",
        "UTC",
        None,
    )
    assert (machine.devices, machine.guests) == ((), ())
    assert machine.disk == Disk(root_mib=1024, esp_mib=64)
    assert machine.network == Network("br0", None, None, None, ())
    assert (machine.bonds, machine.bridges) == ((), ())
    assert kernel_words(machine, passthrough=True) == ("iommu=pt", "intel_iommu=on")


def test_a_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_bytes(b"\xef\xbb\xbf" + NAME.encode().replace(b"\n", b"\r\n"))
    assert load(path).name == "lab"


def full_machine(folder: Path) -> Machine:
    (folder / "ucode.img").write_bytes(b"070701 and so on")
    return load(write(folder, FULL))


def test_everything_set_comes_back(tmp_path: Path) -> None:
    machine = full_machine(tmp_path)
    assert machine.hostname == "host.example.org"
    assert machine.iommu.acs_override == ("id:10de:1e37", "downstream")
    assert [device.address for device in machine.devices] == ["0000:8f:1f.7", "0001:00:00.0"]
    assert [device.id for device in machine.devices] == ["10de:1e37", None]
    assert machine.kernel.microcode == tmp_path / "ucode.img"
    assert machine.kernel.options[3] == 'CONFIG_C="x y"'
    assert machine.access.root_password_hash == HASH
    assert machine.access.grub_password == GRUB_HASH
    assert [guest.devices for guest in machine.guests] == [("0000:8f:1f.7",), ("0000:8f:1f.7",)]
    assert machine.guests[0].mac == "52:54:00:aa:00:01"
    assert [guest.autostart for guest in machine.guests] == [True, False]
    assert [(one.name, one.uuid, one.mount, one.type, one.mount_options) for one in machine.storage] == [
        ("fast", UUID, "/srv/fast", "ext4", "nodev,nosuid,noatime"),
        (
            *("slow", f"{UUID[:-1]}1", "/var/lib/hostwright/storage/a/b-1_C", "xfs"),
            "nodev,nosuid,noatime,ro,logbufs=8",
        ),
    ]
    assert [machine.find_storage(guest) for guest in machine.guests] == [None, machine.storage[0]]
    folders = [guest_argv.host_folder(machine, guest) for guest in machine.guests]
    assert folders == ["/var/lib/hostwright/guests/a", "/srv/fast/b"]
    assert hash(machine)


def test_every_network_that_is_set_comes_back(tmp_path: Path) -> None:
    machine = full_machine(tmp_path)
    assert machine.network == Network(
        "br1",
        "eth0.10",
        "192.168.1.10/24",
        "192.168.1.1",
        ("192.168.1.1", "fd00::1"),
        isolated=False,
        inbound=("tcp/443", "udp/51820", "udp/22"),
        timeservers=("time.example.org", "fd00::2"),
    )
    assert machine.bonds == (Bond("bond0", ("52:54:00:00:00:0a", "eno2"), "802.3ad"),)
    assert machine.bridges == (
        Bridge("br1", "eth0.10", "192.168.1.10/24", "192.168.1.1", isolated=False),
        Bridge("trunk", "bond0"),
        Bridge("br20", "bond0", "dhcp", vlan=20, ipv6="fd00:20::1/64", ipv6_gateway="fe80::1"),
        Bridge(
            *("own", None, "10.9.0.1/24"),
            ipv6="off",
            dhcp_range=("10.9.0.100", "10.9.0.199"),
            nat=False,
            isolated=False,
        ),
    )
    assert [machine.bridge_of(guest) for guest in machine.guests] == [machine.bridges[0], machine.bridges[3]]


def test_an_amd_machine_gets_no_amd_iommu_on(tmp_path: Path) -> None:
    machine = full_machine(tmp_path)
    assert kernel_words(machine, passthrough=True) == (
        "iommu=pt",
        "pcie_acs_override=id:10de:1e37,downstream",
        *machine.iommu.extra,
        *machine.kernel.cmdline,
    )
    assert kernel_words(machine, passthrough=False) == machine.kernel.cmdline


@pytest.mark.parametrize(
    "shape", ["$y$j9T$salt$" + "a" * 43, "$5$salt$" + "b" * 43, "$2b$12$" + "c" * 53, HASH]
)
def test_crypt_hashes_are_taken(shape: str, tmp_path: Path) -> None:
    machine = load(write(tmp_path, NAME + f'[access]\nroot_password_hash = "{shape}"'))
    assert machine.access.root_password_hash == shape


def test_the_lab_machine_is_the_emulated_one() -> None:
    machine = load(TREE / "host.toml")
    assert [(device.address, device.id) for device in machine.devices] == [
        ("0000:01:00.0", "1b36:0010"),
        ("0000:03:00.0", "1234:1111"),
        ("0000:03:00.1", "1b36:000d"),
    ]
    assert "pcie_acs_override=downstream,multifunction" in kernel_words(machine, passthrough=True)


def test_a_guest_has_a_slot_for_every_device_that_it_may_have() -> None:
    assert guest_argv.FIRST_PASSED_SLOT + rules.MOST_GUEST_DEVICES - 1 == 0x1E


@pytest.mark.parametrize(
    "word",
    [
        *(
            "mitigations=auto,nosmt",
            "intremap=nopost",
            "iommu.strict=1",
            "nested=off",
            "pci=realloc",
            "pti=on",
        ),
        *("vfio_iommu_type1.allow_unsafe_interrupts=0", "pci=realloc,config_acs=x1@pci:10de:1e37"),
        *("pci=disable_acs_redir=0:1c.0/2.0;pci:8086:1", "lockdown=integrity", "init_on_alloc=1"),
    ],
)
def test_words_that_switch_nothing_off_are_taken(word: str) -> None:
    assert words.cmdline_word(word) == word


def test_modules_of_every_day_are_taken() -> None:
    for entry in ("vfio-pci", "kvm_intel nested=1", "vfio_pci disable_vga=1 disable_idle_d3=1", "igb"):
        assert words.module(entry) == entry


def test_the_proliant_passes_its_tesla() -> None:
    machine = load(TREE / "hosts" / "proliant-t10.toml")
    assert [(device.address, device.id) for device in machine.devices] == [("0000:82:00.0", "10de:1e37")]
    assert machine.guests[0].devices == ("0000:82:00.0",)


def fields(section: Section, above: str = "") -> Iterator[tuple[str, Field]]:
    """Every key of the grammar with its field, without tables: `device.address` and so on."""
    for key, field in section.fields.items():
        inner = nested(field)
        if inner is None:
            yield above + key, field
        else:
            yield from fields(inner, f"{above}{key}.")


def nested(field: Field) -> Section | None:
    if isinstance(field.check, Section):
        return field.check
    inner = getattr(field.check, "check", None)
    return inner if isinstance(inner, Section) else None


def default_cell(field: Field) -> str:
    if field.required:
        return "required"
    return "none" if field.default is None else f"`{_toml(field.default)}`"


def test_the_reference_lists_every_key_with_its_default() -> None:
    page = (TREE / "docs" / "host.toml.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \| ([^|]+) \|", page, re.MULTILINE)
    assert rows == [(key, default_cell(field)) for key, field in fields(SCHEMA)]


@pytest.mark.parametrize(("key", "field"), list(fields(SCHEMA)), ids=[key for key, _ in fields(SCHEMA)])
def test_every_example_is_toml_and_most_pass_their_own_check(key: str, field: Field) -> None:
    value = tomllib.loads(field.example)[key.rpartition(".")[2]]
    if "..." not in field.example:
        field.check(value)


# Whatever stands in the file, the answer is a Machine or a UserError.


def _toml(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{"".join(plain)}"'
    return str(value)


def _holders(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """Every table and list in `value`, including itself."""
    if isinstance(value, dict | list):
        yield value
        for each in value.values() if isinstance(value, dict) else value:
            yield from _holders(each)


def answer(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    try:
        assert isinstance(load(path), Machine)
    except UserError as error:
        assert str(path) in error.message and error.hint


WORDS = st.sampled_from(
    ["", "..", "lab", "01:00.0", "id:1:2", "dhcp", "10.0.0.1/33", "CONFIG_A=y", "ssh-rsa AAAA", "\0"]
)
SCALARS = st.text(max_size=12) | WORDS | st.integers() | st.booleans() | st.floats(0, 1) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
RELAXED = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@RELAXED
@given(data=st.data())
def test_any_change_of_a_good_file_gives_a_machine_or_a_user_error(
    data: st.DataObject, tmp_path: Path
) -> None:
    (tmp_path / "ucode.img").write_bytes(b"070701")
    raw = deepcopy(tomllib.loads(FULL))
    for _ in range(data.draw(st.integers(1, 3))):
        holder = data.draw(st.sampled_from(list(_holders(raw))))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys) if keys else st.none())
        if isinstance(holder, dict) and data.draw(st.integers(0, 4)) == 0:
            holder[data.draw(st.text(max_size=5))] = data.draw(VALUES)
        elif key is not None and data.draw(st.integers(0, 4)) == 0:
            del holder[key]
        elif key is not None:
            holder[key] = data.draw(VALUES)
    answer(tmp_path / "host.toml", "".join(f"{_toml(key)} = {_toml(each)}\n" for key, each in raw.items()))


@RELAXED
@given(
    content=st.text()
    | st.lists(
        st.sampled_from(
            [*FULL.splitlines(), "[[device]]", "[device]", "[[device.x]]", "x = [", "]", "= 3", "[["]
        ),
        max_size=12,
    ).map("\n".join)
)
def test_any_text_gives_a_machine_or_a_user_error(content: str, tmp_path: Path) -> None:
    answer(tmp_path / "host.toml", content)


def test_a_machine_without_disks_for_data_has_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    """Ids and the image's key follow it."""
    text = fingerprint(load(write(tmp_path, NAME + GUEST)))
    assert "storage" not in text and "firmware" not in text
    assert fingerprint(load(write(tmp_path, NAME + GUEST + STORAGE))) != text


def test_the_first_bridge_is_that_of_the_network_if_it_has_one(tmp_path: Path) -> None:
    alone = load(write(tmp_path, NAME + BRIDGE + GUEST))
    assert alone.bridge_of(alone.guests[0]) == Bridge("lan")
    beside = load(write(tmp_path, ADDRESS + BRIDGE + GUEST))
    assert beside.bridge_of(beside.guests[0]) == beside.network.as_bridge


def test_a_machine_without_the_new_keys_keeps_its_fingerprint(tmp_path: Path) -> None:
    """Its text names no key of bonds, VLANs and further bridges: those have their defaults."""
    text = fingerprint(load(write(tmp_path, ADDRESS + GUEST)))
    assert not re.search(r"bonds|bridges|vlan|ipv6|dhcp|nat", text)
    assert json.loads(text)["network"]["bridge"] == "br0" and "bridge" not in json.loads(text)["guests"][0]


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    prints = []
    for folder, microcode in (("one", b"070701 a"), ("two", b"070701 a"), ("three", b"070701 b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ucode.img").write_bytes(microcode)
        (tmp_path / folder / "host.toml").write_text('name = "x"\n[kernel]\nmicrocode = "ucode.img"\n')
        prints.append(fingerprint(load(tmp_path / folder / "host.toml")))
    assert prints[0] == prints[1] != prints[2]


def test_two_guests_whose_names_give_one_account_are_refused(tmp_path: Path) -> None:
    """Some two of a thousand names do."""
    [plain] = load(write(tmp_path, NAME + GUEST)).guests
    names: dict[int, str] = {}
    for name in (f"g{number}" for number in range(10_000)):
        if (first := names.setdefault(replace(plain, name=name).account, name)) != name:
            break
    text = NAME + GUEST.replace('"a"', f'"{first}"') + GUEST_B.replace('"b"', f'"{name}"')
    caught = refusal(write(tmp_path, text))
    assert f'its account would be that of guest "{first}"' in caught.message
    assert "guest[1].name" in caught.message and "another name" in str(caught.hint)
