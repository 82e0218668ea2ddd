"""What the owner set on a host: the build's rules and the host's awk say the same of every file, good or bad."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image.templates import render_text
from hostwright.machine import local
from hostwright.machine.grammar import BadValueError
from hostwright.machine.load import load
from hostwright.machine.model import Machine

FUNCTIONS = paths.ROOTFS / "etc/rc.d/init.d/functions"
AWK = paths.ROOTFS / "usr/libexec/hostwright/settings.awk"
AWKS = [name for name in ("gawk", "mawk", "busybox") if shutil.which(name)]

GOOD = {
    "nothing": "",
    "a device": "device 0000:02:00.0 pass 1b36:0010\n",
    "two devices": "device 0000:02:00.0 pass 1b36:0010\ndevice 0000:01:1f.7 keep\n",
    "a guest": "guest debian autostart no\nguest debian device 0000:02:00.0 add\n",
    "a guest with a long name": f"guest {'a' * 31} autostart yes\n",
    "an unknown guest": "guest nobody device 0000:02:00.0 remove\n",
    "an address": "network address 192.168.1.10/24\n",
    "a small network": "network address 10.0.0.0/31\n",
    "one host": "network address 10.0.0.255/32\n",
    "DHCP": "network address dhcp\n",
    "a gateway": "network gateway 192.168.7.1\nnetwork address 192.168.7.9/24\n",
    "no gateway": "network gateway none\n",
    "name servers": "network nameservers 10.0.0.1 fe80::1%br0 2001:DB8::1\n",
    "no name servers": "network nameservers none\n",
    "IPv6 in full": "network nameservers 1:2:3:4:5:6:7:8 ::ffff:1.2.3.4 :: ::1 1:: 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8\n",
}
BAD = {
    "a word": "hello\n",
    "an empty line": "\n",
    "a comment": "# device 0000:02:00.0 keep\n",
    "two blanks": "device  0000:02:00.0 keep\n",
    "a blank in front": " device 0000:02:00.0 keep\n",
    "a blank behind": "device 0000:02:00.0 keep \n",
    "a tab": "device\t0000:02:00.0 keep\n",
    "a carriage return": "device 0000:02:00.0 keep\r\n",
    "a null byte": "device 0000:02:00.0\0 keep\n",
    "a command": "device $(reboot) keep\n",
    "a terminal's sequence": "guest \033[2J autostart no\n",
    "an address in capitals": "device 0000:0A:00.0 keep\n",
    "an address without a domain": "device 02:00.0 keep\n",
    "a device number too large": "device 0000:02:20.0 keep\n",
    "a function too large": "device 0000:02:00.8 keep\n",
    "a large domain": "device 10000:02:00.0 keep\n",
    "a device without an id": "device 0000:02:00.0 pass\n",
    "an id in capitals": "device 0000:02:00.0 pass 1B36:0010\n",
    "an id and more": "device 0000:02:00.0 pass 1b36:0010 x\n",
    "a keep with an id": "device 0000:02:00.0 keep 1b36:0010\n",
    "a device alone": "device 0000:02:00.0\n",
    "a device twice": "device 0000:02:00.0 keep\ndevice 0000:02:00.0 pass 1b36:0010\n",
    "a guest with a bad name": "guest De_bian autostart no\n",
    "a guest that ends in -": "guest debian- autostart no\n",
    "a guest with a name too long": f"guest {'a' * 32} autostart no\n",
    "autostart perhaps": "guest debian autostart perhaps\n",
    "autostart alone": "guest debian autostart\n",
    "a device of a guest, half": "guest debian device 0000:02:00.0\n",
    "a device of a guest, kept": "guest debian device 0000:02:00.0 keep\n",
    "no prefix": "network address 192.168.1.10\n",
    "a prefix too long": "network address 192.168.1.10/33\n",
    "a mask": "network address 192.168.1.10/255.255.255.0\n",
    "a zero in front": "network address 192.168.01.10/24\n",
    "a prefix with a zero": "network address 192.168.1.10/024\n",
    "a number too large": "network address 192.168.1.256/24\n",
    "three numbers": "network address 192.168.1/24\n",
    "the network's own": "network address 192.168.1.0/24\n",
    "broadcast": "network address 192.168.1.255/24\n",
    "multicast": "network address 224.0.0.5/24\n",
    "reserved": "network address 250.0.0.5/24\n",
    "loopback": "network address 127.0.0.5/8\n",
    "unspecified": "network address 0.0.0.0/0\n",
    "two addresses": "network address 10.0.0.1/24 10.0.0.2/24\n",
    "no address": "network address none\n",
    "a gateway with a name": "network gateway router\n",
    "a gateway outside": "network address 10.0.0.1/24\nnetwork gateway 10.0.1.1\n",
    "a gateway that is the host": "network address 10.0.0.1/24\nnetwork gateway 10.0.0.1\n",
    "a gateway with DHCP": "network address dhcp\nnetwork gateway 10.0.0.1\n",
    "a gateway twice": "network gateway none\nnetwork gateway none\n",
    "a name server by name": "network nameservers dns.example.org\n",
    "a name server twice": "network nameservers 10.0.0.1 10.0.0.1\n",
    "a name server twice, otherwise": "network nameservers ::1 0:0::1\n",
    "no name server and one": "network nameservers none 10.0.0.1\n",
    "a zone that is none": "network nameservers fe80::1%lo\n",
    "a zone of IPv4": "network nameservers 10.0.0.1%br0\n",
    "two gaps": "network nameservers 1::2::3\n",
    "nine groups": "network nameservers 1:2:3:4:5:6:7:8:9\n",
    "a gap for nothing": "network nameservers 1:2:3:4::5:6:7:8\n",
    "a colon in front": "network nameservers :1:2:3:4:5:6:7\n",
    "a colon at the end": "network nameservers 1:2:3:4:5:6:7:\n",
    "a group too long": "network nameservers 12345::1\n",
    "another key": "network bridge br1\n",
    "an end in between": "end\ndevice 0000:02:00.0 keep\n",
}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load(paths.TREE / "host.toml")


def ask_build(content: bytes, machine: Machine) -> str:
    """The lines that count, or "refused"."""
    try:
        settings = local.parse(content)
        local.apply(machine, settings)
    except BadValueError:
        return "refused"
    return "".join(f"{one.line}\n" for one in settings)


def prepare(place: Path, machine: Machine, awk: str) -> dict[str, str]:
    """A host's files that the check reads; the environment of a shell on it."""
    for folder in ("bin", "usr/libexec/hostwright", "etc/sysconfig"):
        (place / folder).mkdir(parents=True)
    shutil.copy(AWK, place / "usr/libexec/hostwright")
    template = paths.ROOTFS / "etc/sysconfig/network.j2"
    text = render_text(template.read_text(), template.name, {"machine": machine})
    (place / "etc/sysconfig/network").write_text(text)
    link = place / "bin/awk"
    if awk == "busybox":
        link.write_text('#!/bin/sh\nexec busybox awk "$@"\n')
        link.chmod(0o755)
    else:
        link.symlink_to(shutil.which(awk) or awk)
    return {"HOSTWRIGHT_ROOT": str(place), "PATH": f"{place}/bin:{os.environ['PATH']}"}


def ask_host(place: Path, contents: list[bytes], environment: dict[str, str]) -> list[str]:
    """The same of several files, by functions of the host's scripts."""
    for number, content in enumerate(contents):
        (place / f"settings{number}").write_bytes(content)
    script = f""". {FUNCTIONS}
number=0
while [ $number -lt {len(contents)} ]; do
    if text=$(check_settings {place}/settings$number 2>"{place}/reason"); then
        printf '%s\\n' "${{text:-none}}"
        [ ! -s "{place}/reason" ] || echo "WITH A REASON"
    else
        [ -z "$text" ] && [ "$(wc -l <"{place}/reason")" = 1 ] || echo "ODD: $text $(cat {place}/reason)"
        echo refused
    fi
    echo ----
    number=$((number + 1))
done
"""
    done = subprocess.run(
        ["sh", "-u", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    answers = done.stdout.split("----\n")[:-1]
    return [{"none\n": "", "refused\n": "refused"}.get(one, one) for one in answers]


@pytest.mark.parametrize("awk", AWKS)
def test_host_and_build_say_the_same(tmp_path: Path, machine: Machine, awk: str) -> None:
    environment = prepare(tmp_path, machine, awk)
    whole = {name: f"{text}end\n".encode() for name, text in (GOOD | BAD).items()}
    torn = {f"{name}, torn": f"{text}end\n"[:-5].encode() for name, text in GOOD.items()}
    more = {
        "an empty file": b"",
        "no newline at the end": b"end",
        "an end and a blank line": b"end\n\n",
        "no ASCII": "guest débian autostart no\nend\n".encode(),
        "much": b"guest nobody autostart no\n" * 4000 + b"end\n",
    }
    cases = whole | torn | more
    said = dict(zip(cases, ask_host(tmp_path, list(cases.values()), environment), strict=True))
    built = {name: ask_build(content, machine) for name, content in cases.items()}
    assert said == built
    assert {name for name in GOOD if built[name] == "refused"} == set()
    assert {name for name in BAD if built[name] != "refused"} == set()
    assert {name for name in torn if built[name] != "refused"} == set()


def test_host_and_build_say_the_same_of_files_with_a_change(tmp_path: Path, machine: Machine) -> None:
    """Good files in which a few characters were changed, left out or doubled."""
    environment = prepare(tmp_path, machine, AWKS[0])
    drawn = random.Random(13)
    texts = [f"{text}end\n" for text in GOOD.values()]
    contents = [change(drawn.choice(texts), drawn).encode() for _ in range(400)]
    built = [ask_build(content, machine) for content in contents]
    said = ask_host(tmp_path, contents, environment)
    assert [
        (text, one, other) for text, one, other in zip(contents, said, built, strict=True) if one != other
    ] == []
    assert 20 < built.count("refused") < 390


def change(text: str, drawn: random.Random) -> str:
    for _ in range(drawn.randint(1, 2)):
        place = drawn.randrange(len(text))
        text = text[:place] + drawn.choice(("", text[place] * 2, *"0129af:./% \ndx")) + text[place + 1 :]
    return text


NETWORKS = {
    "DHCP": 'nic = "eth0"\naddress = "dhcp"',
    "a card without an address": 'nic = "eth0"',
    "a fixed address": 'nic = "eth0"\naddress = "192.168.7.2/24"\ngateway = "192.168.7.1"',
    "further bridges": 'nic = "eth0"\naddress = "192.168.7.2/24"\n[[bridge]]\nname = "br9"',
    "addresses for guests": 'address = "192.168.7.2/24"\ndhcp_range = "192.168.7.100-192.168.7.120"',
    "behind the host": 'address = "192.168.7.2/24"',
    "no bridge": "",
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_rules_of_the_network_hold_for_the_whole_of_it(tmp_path: Path, network: str) -> None:
    path = tmp_path / "host.toml"
    path.write_text(f'name = "test"\n[network]\n{network}\n')
    machine = load(path)
    environment = prepare(tmp_path / "root", machine, AWKS[0])
    contents = [
        f"{''.join(lines)}end\n".encode()
        for address in (
            "",
            "network address dhcp\n",
            "network address 192.168.7.9/24\n",
            "network address 10.0.0.9/8\n",
        )
        for gateway in (
            "",
            "network gateway 192.168.7.1\n",
            "network gateway 192.168.7.9\n",
            "network gateway none\n",
        )
        for servers in ("", "network nameservers ::1\n")
        for lines in [(address, gateway, servers)]
    ]
    built = [ask_build(content, machine) for content in contents]
    assert ask_host(tmp_path / "root", contents, environment) == built
    assert "refused" in built and built.count("refused") < len(built)


def test_settings_count_more_than_host_toml(machine: Machine) -> None:
    named, *others = [device.address for device in machine.devices]
    text = f"""\
device {named} keep
device 0000:02:00.0 pass 1b36:0010
guest debian autostart no
guest debian device {named} remove
guest debian device 0000:02:00.0 add
network address 10.0.0.2/24
network gateway 10.0.0.1
network nameservers 10.0.0.1 ::1
end
"""
    changed = local.apply(machine, local.parse(text.encode()))
    assert [device.address for device in changed.devices] == [*others, "0000:02:00.0"]
    [guest] = changed.guests
    assert (guest.autostart, guest.devices) == (False, (*others, "0000:02:00.0"))
    net = changed.network
    assert (net.address, net.gateway, net.nameservers) == ("10.0.0.2/24", "10.0.0.1", ("10.0.0.1", "::1"))


def test_what_is_wrong_is_named_with_its_line() -> None:
    with pytest.raises(BadValueError, match=r'line 2: "device x keep": not a PCI address'):
        local.parse(b"guest debian autostart no\ndevice x keep\nend\n")
