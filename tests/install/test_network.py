"""The network of a guest under construction ends at the archive, as the installer's own kernel and tools see it."""

import hashlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.build import store
from hostwright.formats import cpio
from hostwright.formats.cpio import Entry
from hostwright.guest import initrd, workplace
from hostwright.machine import load
from hostwright.machine.model import Guest
from hostwright.sandbox.workshop import open_at
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator
from hostwright.vm.login import free_port
from hostwright.vm.session import started

GUEST: Guest = load.load(paths.TREE / "host.toml").guests[0]
LIMIT_S = 240.0
FILE = "pool/main/p/probe/probe_1.deb"
# Twice, on connections of its own each, and large enough to come in many pieces.
CONTENT = bytes(range(256)) * 4096

WORDS = ("rdinit=/probe", "console=ttyS0", "panic=-1", "mitigations=off")

# As an installed guest does: its address is from DHCP. Whoever comes to its ssh port is greeted.
LOGIN = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t devtmpfs dev /dev 2>/dev/null
mount -t sysfs sys /sys
modprobe virtio_pci
modprobe virtio_net
modprobe af_packet
sleep 1
cat >/bound <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/24" dev "$interface"
echo "bound: $ip [$router] [$dns]" >/dev/ttyS0
END
chmod +x /bound
for card in /sys/class/net/*; do
    [ -e "$card/device" ] || continue
    ip link set "${card##*/}" up
    udhcpc -q -n -i "${card##*/}" -s /bound
done
while :; do
    echo "SSH-2.0-probe" | nc -l -p 22
done
"""

PROBE = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe virtio_pci
modprobe virtio_net
sleep 1
for card in /sys/class/net/*; do
    [ -e "$card/device" ] || continue
    ip link set "${card##*/}" up
    ip address add 10.0.2.15/24 dev "${card##*/}"
    ip route add default via 10.0.2.2
done
for number in 1 2; do
    echo "archive: $(wget -q -O - http://ARCHIVE/debian/FILE | sha256sum)" >/dev/ttyS0
done
for address in 10.0.2.2 10.0.2.3 10.0.2.100; do
    # The server speaks first.
    sleep 60 | nc "$address" PORT >/said 2>/dev/null &
    sleep 5
    echo "loopback at $address: [$(cat /said)]" >/dev/ttyS0
done
echo done >/dev/ttyS0
poweroff -f
"""


@contextmanager
def serving() -> Iterator[int]:
    """A service of this machine's loopback, which greets whoever comes; its port."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.sendall(b"RFB 003.008\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def place(work: Path, script: str) -> workplace.Inputs:
    """The installer's kernel and tools in `work`, with `script` as the first program."""
    inputs = workplace.find_inputs(store.read_stamp("grub").tree, open_at(work / "medium.log"))
    workplace.place(GUEST, inputs, None, work)
    (work / guest_argv.SYSTEM).write_bytes(bytes(1 << 20))
    boot = initrd.build_initrd(initrd.load_lock(), inputs.shop)
    shutil.copyfile(boot.kernel, work / guest_argv.KERNEL)
    packed = boot.initrd.read_bytes()
    extra = cpio.write([Entry("probe", 0o100755, script.encode())])
    (work / guest_argv.INITRD).write_bytes(packed + bytes(-len(packed) % 4) + extra)
    return inputs


def look_around(work: Path, depot: Depot, port: int, restrict: str) -> str:
    """What a machine with the install's network says on its console."""
    script = PROBE.replace("ARCHIVE", guest_argv.ARCHIVE).replace("FILE", FILE).replace("PORT", str(port))
    inputs = place(work, script)
    vnc = guest_argv.Vnc()
    argv = guest_argv.plan_second_stage(GUEST, Accelerator.TCG, vnc, WORDS, depot.port)
    argv = tuple(word.replace("restrict=on", restrict) for word in argv)
    with started(argv, work, inputs.tools, Accelerator.TCG, vnc) as session:
        assert session.wait_for_end(LIMIT_S), session.console.path.read_text(errors="replace")
        return session.console.path.read_text(errors="replace")


@pytest.mark.parametrize("restrict", ["restrict=on", "restrict=off"])
def test_a_guest_reaches_the_archive_and_nothing_else_of_this_machine(tmp_path: Path, restrict: str) -> None:
    """The second machine shows that the first would have found the service."""
    folder = tmp_path / "archive"
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(CONTENT)
    work = tmp_path / "work"
    work.mkdir()
    with Depot(folder, (), offline=True) as depot, serving() as port:
        said = look_around(work, depot, port, restrict)
        assert depot.counts.files == 2, said
    assert said.count(f"archive: {hashlib.sha256(CONTENT).hexdigest()}") == 2
    reached = "RFB 003.008" if restrict == "restrict=off" else ""
    assert f"loopback at 10.0.2.2: [{reached}]" in said
    assert "loopback at 10.0.2.100: []" in said
    assert "done" in said


def test_the_login_of_an_installed_guest_is_reached_and_dhcp_names_no_way_out(tmp_path: Path) -> None:
    inputs, port = place(tmp_path, LOGIN), free_port()
    argv = guest_argv.plan_second_stage(GUEST, Accelerator.TCG, guest_argv.Vnc(), WORDS, 1)
    boot = guest_argv.plan_boot(GUEST, Accelerator.TCG, port)
    network = boot[boot.index("-netdev") + 1]
    argv = tuple(network if word.startswith("user,") else word for word in argv)
    with started(argv, tmp_path, inputs.tools, Accelerator.TCG, guest_argv.Vnc()) as session:
        said, deadline = b"", time.monotonic() + LIMIT_S
        while not said and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
                client.settimeout(30)
                said = client.recv(64)
            time.sleep(1)
        console = session.console.path.read_text(errors="replace")
    assert said == b"SSH-2.0-probe\n", console
    assert "bound: 10.0.2.15 [] []" in console
