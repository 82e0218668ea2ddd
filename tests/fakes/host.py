"""A host below a folder: /sys, /proc and the boot scripts, for scripts that take $HOSTWRIGHT_ROOT.

What a kernel does on a write, it does here too: `drivers_probe` and each driver's `unbind` are FIFOs, read by
a thread that moves the links of the driver model (kernel Documentation/ABI/testing/sysfs-bus-pci).
"""

import os
import select
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Self

from hostwright.base.paths import ROOTFS
from hostwright.doctor import shared
from hostwright.image.templates import render_text
from hostwright.pci.inventory import Capture
from tests.fakes import tree

BUS = "sys/devices/pci0000:00"
FOLDERS = (
    "sys/bus/pci/devices",
    "sys/bus/pci/drivers",
    "sys/dev/block",
    "sys/class/block",
    "sys/block",
    "sys/class/net",
    "run/hostwright",
    "bin",
    BUS,
)

# Programs that would act on the real system: until a test arranges them, they fail.
DANGEROUS = (
    *("mount", "umount", "swapon", "swapoff", "fsck", "modprobe", "sysctl", "ip", "bridge"),
    *("halt", "init", "killall", "killall5", "reboot"),
    *("iptables", "iptables-restore", "ip6tables", "ip6tables-restore"),
    *("dhcpcd", "dnsmasq", "ssh-keygen", "syslogd", "udevadm", "udevd"),
    *("acpid", "chown", "chronyc", "chronyd", "shutdown", "smartd", "wdctl"),
    *("blkid", "mdadm", "vgchange"),
    *("partx", "resize2fs", "sfdisk", "mkfs.ext4", "mkfs.vfat", "grub-install", "sync"),
)

# The lab: an NVMe drive that is named, its twin, and the host's disk behind an AHCI controller.
NVME = "1b36:0010"
NAMED = "0000:01:00.0"
TWIN = "0000:02:00.0"
AHCI = "0000:00:1f.2"


class FakeHost:
    """One machine; use it as a context manager for as long as its kernel has to answer."""

    def __init__(self, root: Path, shell: tuple[str, ...] = ("dash",)) -> None:
        self.root = root
        self.shell = shell
        self.natives: dict[str, str] = {}  # vendor:device -> the driver that takes it without an override
        self.broken: set[str] = set()  # drivers whose probe fails
        self.stuck: set[str] = set()  # drivers that do not let go
        self._thread = threading.Thread(target=self._serve)
        self.write("proc/cmdline", "root=/dev/sda1 ro\n")
        self.write("proc/self/mountinfo", "20 1 0:20 / /proc rw shared:5 - proc proc rw\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n")
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        if not self._is_busybox:
            for name in DANGEROUS:
                self.command(name, "exit 127")
        os.mkfifo(root / "sys/bus/pci/drivers_probe")
        shutil.copytree(ROOTFS / "etc/rc.d", root / "etc/rc.d", symlinks=True)
        rules = {"shell_rules": tuple(shared.list_shell_rules())}
        template = ROOTFS / "usr/libexec/hostwright/rules.j2"
        self.write("usr/libexec/hostwright/rules", render_text(template.read_text(), template.name, rules))

    @property
    def _is_busybox(self) -> bool:
        return self.shell[0] == "busybox"

    def __enter__(self) -> Self:
        self._end, self._wake = os.pipe()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._wake, b"x")
        self._thread.join()
        os.close(self._end)
        os.close(self._wake)

    def write(self, name: str, text: str) -> Path:
        """A file below the root, its folders made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        return path

    def command(self, name: str, body: str = "") -> None:
        """A program on the scripts' PATH that notes its call in `calls`, then does what `body` says.

        Not for busybox: whatever PATH says, its shell runs its own programs, which act on the real system.
        """
        assert not self._is_busybox
        path = self.write(f"bin/{name}", f'#!/bin/sh\necho "{name} $*" >>{self.root}/calls\n{body}\n')
        path.chmod(0o755)

    def calls(self) -> list[str]:
        """The calls of such programs, in order."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self, script: str, *arguments: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A script of the root file system, run by this host's shell."""
        path = self.root / script
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOTFS / script, path)
        values = {
            "HOSTWRIGHT_ROOT": str(self.root),
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            **environment,
        }
        argv = [*self.shell, str(path), *arguments]
        return subprocess.run(
            argv, env=values, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def init(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A script of /etc/rc.d/init.d; with busybox only those that run none of the DANGEROUS programs."""
        assert not self._is_busybox or script in ("rc", "vfio", "vfio-reserve")
        return self.run(f"etc/rc.d/init.d/{script}", *arguments, **environment)

    def add_lab(self) -> None:
        """The devices of the lab, as they are before the first boot script runs."""
        self.driver("vfio-pci")
        self.pci(f"0000:00:02.0/{NAMED}", NVME, "010802", "nvme", "3")
        self.pci(f"0000:00:03.0/{TWIN}", NVME, "010802", "nvme", "4")
        self.pci(AHCI, "8086:2922", "010601", "ahci", "5")
        self.block(f"pci0000:00/{AHCI}/ata1/host0/block/sda", "8:0")
        self.block(f"pci0000:00/{AHCI}/ata1/host0/block/sda/sda3", "8:3")
        self.mount("8:3", "/", "/dev/root")
        self.name_devices(f"{NAMED} {NVME}\n")

    def add_machine(self, capture: Capture) -> None:
        """The devices of a described machine, as its kernel shows them."""
        tree.lay_out(capture, self.root)

    def name_devices(self, text: str) -> None:
        """The list of devices for guests."""
        self.write("etc/hostwright/devices", text)

    # The driver model.

    def pci(self, address: str, ident: str, kind: str = "020000", driver: str = "", group: str = "1") -> Path:
        """A PCI function; `address` may be a path of addresses from the root bus down."""
        vendor, device = ident.split(":")
        name = address.rpartition("/")[2]
        folder = self.root / BUS / address
        folder.mkdir(parents=True)
        for attribute, value in (
            ("vendor", f"0x{vendor}"),
            ("device", f"0x{device}"),
            ("class", f"0x{kind}"),
        ):
            (folder / attribute).write_text(value + "\n")
        (folder / "driver_override").write_text("(null)\n")
        self._link(self.root / "sys/bus/pci/devices" / name, folder)
        if group:
            members = self.root / "sys/kernel/iommu_groups" / group
            (members / "devices").mkdir(parents=True, exist_ok=True)
            (members / "type").write_text("identity\n")
            self._link(members / "devices" / name, folder)
            self._link(folder / "iommu_group", members)
        if driver:
            self.driver(driver)
            self.natives[ident] = driver
            self._bind(name, driver)
        return folder

    def driver(self, name: str) -> None:
        """A driver that is loaded or built in."""
        folder = self.root / "sys/bus/pci/drivers" / name
        if not folder.exists():
            folder.mkdir()
            os.mkfifo(folder / "unbind")

    def driver_of(self, address: str) -> str:
        """The driver that the function is bound to, or an empty string."""
        link = self._device(address) / "driver"
        return link.readlink().name if link.is_symlink() else ""

    def override_of(self, address: str) -> str:
        return (self._device(address) / "driver_override").read_text().strip()

    def block(self, folder: str, number: str) -> Path:
        """A disk at `folder` below /sys/devices, or a partition when the folder above it is a disk."""
        path = self.root / "sys/devices" / folder
        path.mkdir(parents=True)
        for link in (self.root / "sys/dev/block" / number, self.root / "sys/class/block" / path.name):
            self._link(link, path)
        if (path.parent / "slaves").exists():
            (path / "partition").write_text("1\n")
        else:
            (path / "slaves").mkdir()
            self._link(self.root / "sys/block" / path.name, path)
        return path

    def stack(self, upper: Path, lower: Path) -> None:
        """`upper` (device mapper, md) lies on `lower`."""
        self._link(upper / "slaves" / lower.name, lower)

    def network(self, name: str, device: Path | None = None, lower: str = "") -> None:
        """A network interface of a PCI device, or a virtual one over the interface `lower`."""
        base = device / "net" if device else self.root / "sys/devices/virtual/net"
        folder = base / name
        folder.mkdir(parents=True)
        self._link(self.root / "sys/class/net" / name, folder)
        if device:
            self._link(folder / "device", device)
        if lower:
            self._link(folder / f"lower_{lower}", (self.root / "sys/class/net" / lower).resolve())

    def mount(self, number: str, target: str, source: str, kind: str = "ext4") -> None:
        """A line of mountinfo, with the optional fields that a shared mount has."""
        with (self.root / "proc/self/mountinfo").open("a") as file:
            file.write(f"30 1 {number} / {target} rw,relatime shared:1 master:2 - {kind} {source} rw\n")

    def _device(self, address: str) -> Path:
        return (self.root / "sys/bus/pci/devices" / address).resolve()

    def _link(self, link: Path, target: Path) -> None:
        link.symlink_to(os.path.relpath(target, link.parent))

    def _bind(self, address: str, driver: str) -> None:
        folder = self.root / "sys/bus/pci/drivers" / driver
        device = self._device(address)
        self._link(device / "driver", folder)
        self._link(folder / address, device)

    # What the kernel does when something is written.

    def _unbind(self, driver: str, address: str) -> None:
        device = self._device(address)
        if driver not in self.stuck and self.driver_of(address) == driver:
            (device / "driver").unlink()
            (self.root / "sys/bus/pci/drivers" / driver / address).unlink()

    def _probe(self, address: str) -> None:
        device = self._device(address)
        ident = ":".join((device / name).read_text().strip()[2:] for name in ("vendor", "device"))
        override = self.override_of(address)
        driver = self.natives.get(ident, "") if override in ("", "(null)") else override
        known = (self.root / "sys/bus/pci/drivers" / driver).exists()
        if driver and known and driver not in self.broken and not self.driver_of(address):
            self._bind(address, driver)

    def _serve(self) -> None:
        pci = self.root / "sys/bus/pci"
        # Opened for writing as well, so that no reader ever sees an end of file.
        files = {os.open(pci / "drivers_probe", os.O_RDWR): ""}
        for fifo in pci.glob("drivers/*/unbind"):
            files[os.open(fifo, os.O_RDWR)] = fifo.parent.name
        # Not select(), which takes no number above 1023.
        watched = select.poll()
        for file in (self._end, *files):
            watched.register(file, select.POLLIN)
        while self._end not in (ready := [file for file, _ in watched.poll()]):
            for file in ready:
                for address in os.read(file, 4096).decode().split():
                    if files[file]:
                        self._unbind(files[file], address)
                    else:
                        self._probe(address)
        for file in files:
            os.close(file)
