"""The machine to build, as values without logic."""

from dataclasses import dataclass
from pathlib import Path

from hostwright.machine.install import Install


@dataclass(frozen=True)
class Iommu:
    """`acs_override`: words of pcie_acs_override=; `extra`: kernel words of boot entries with passthrough."""

    vendor: str
    acs_override: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """A PCI function to pass through: `address` as dddd:bb:dd.f, `id` as vvvv:dddd, both in lower case."""

    address: str
    id: str | None
    label: str


@dataclass(frozen=True)
class KernelChoice:
    """`cmdline`: words of every boot entry; `options`: lines of .config; `modules`: lines of /etc/modules."""

    cmdline: tuple[str, ...]
    options: tuple[str, ...]
    modules: tuple[str, ...]
    microcode: Path | None


@dataclass(frozen=True)
class Access:
    """Who gets in as root: lines of authorized_keys, and a crypt(5) hash (None: the password is locked)."""

    ssh_keys: tuple[str, ...]
    root_password_hash: str | None


@dataclass(frozen=True)
class Network:
    """The bridge, the card in it (name or MAC), and the bridge's `address`: IPv4/prefix, `dhcp` or None."""

    bridge: str
    nic: str | None
    address: str | None
    gateway: str | None
    nameservers: tuple[str, ...]


@dataclass(frozen=True)
class Disk:
    """Sizes of the root and of the EFI system partition of host.img."""

    root_mib: int
    esp_mib: int


@dataclass(frozen=True)
class Guest:
    """A virtual machine; `devices` are addresses of `Machine.devices`. `autostart` guests all run at once."""

    name: str
    memory_mib: int
    vcpus: int
    disk_gib: int
    mac: str
    devices: tuple[str, ...]
    autostart: bool
    embed: bool
    install: Install


@dataclass(frozen=True)
class Machine:
    """All that host.toml says. `memory_mib` is the memory of the host, None when it is not stated.

    `capture` is what hostwright-capture wrote on the machine: what is passed through is checked against it.
    """

    name: str
    hostname: str
    timezone: str
    iommu: Iommu
    devices: tuple[Device, ...]
    kernel: KernelChoice
    access: Access
    network: Network
    disk: Disk
    guests: tuple[Guest, ...]
    memory_mib: int | None
    capture: Path | None = None
