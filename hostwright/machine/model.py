"""The machine to build, as values without logic."""

import zlib
from dataclasses import dataclass
from pathlib import Path

from hostwright.machine.firmware import early_names
from hostwright.machine.install import Install
from hostwright.machine.storage import Storage

# Of every cgroup (Documentation/admin-guide/cgroup-v2.rst).
DEFAULT_CPU_WEIGHT = 100
# Users and groups of the guests' QEMU on the host.
ACCOUNTS = range(100_000, 500_000)


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
    """`cmdline`: words for every boot entry; `options`: lines of .config; `modules`: lines of /etc/modules.

    `firmware`: names of machine.firmware.
    """

    cmdline: tuple[str, ...]
    options: tuple[str, ...]
    modules: tuple[str, ...]
    microcode: Path | None
    firmware: tuple[str, ...] = ()

    @property
    def has_early_image(self) -> bool:
        """Whether the processor gets microcode before the kernel starts."""
        return self.microcode is not None or bool(early_names(self.firmware))


@dataclass(frozen=True)
class Access:
    """Root's access: lines of authorized_keys, and a crypt(5) hash (None: the password is locked).

    `update_keys` sign updates of the host (none: those of `ssh_keys`). `grub_password` is the hash of the boot menu's
    password (None: whoever is at the console can edit an entry).
    """

    ssh_keys: tuple[str, ...]
    root_password_hash: str | None
    grub_password: str | None = None
    update_keys: tuple[str, ...] = ()

    @property
    def signers(self) -> tuple[str, ...]:
        """The keys whose signature an update must have."""
        return self.update_keys or self.ssh_keys


@dataclass(frozen=True)
class Bond:
    """Cards, by name or MAC, that act as one under `name`; `mode` as ip-link(8) spells it."""

    name: str
    nics: tuple[str, ...]
    mode: str = "active-backup"


@dataclass(frozen=True)
class Bridge:
    """A bridge: its uplink is `nic` (a card's name or MAC, or a bond), or the VLAN `vlan` on it, or nothing.

    Without a `nic` it is the guests' own: behind address translation if `nat`, with DHCP and DNS if it has a
    `dhcp_range` (the first and last address). `address` and `isolated` as for Network; `ipv6` is IPv6/prefix, `auto`,
    `off` or None.
    """

    name: str
    nic: str | None = None
    address: str | None = None
    gateway: str | None = None
    vlan: int | None = None
    ipv6: str | None = None
    ipv6_gateway: str | None = None
    dhcp_range: tuple[str, str] | None = None
    nat: bool = True
    isolated: bool = True


@dataclass(frozen=True)
class Network:
    """The bridge, the card in it (name or MAC), and the bridge's `address`: IPv4/prefix, `dhcp` or None.

    `isolated`: a guest on the bridge sends from its own MAC address only, and reaches no other guest. `inbound`: what
    the host accepts besides ssh, as `tcp/443` or `udp/51820`. `timeservers`: names or addresses of NTP servers. The
    others are as for Bridge.
    """

    bridge: str
    nic: str | None
    address: str | None
    gateway: str | None
    nameservers: tuple[str, ...]
    isolated: bool = True
    inbound: tuple[str, ...] = ()
    timeservers: tuple[str, ...] = ()
    vlan: int | None = None
    ipv6: str | None = None
    ipv6_gateway: str | None = None
    dhcp_range: tuple[str, str] | None = None
    nat: bool = True

    @property
    def has_bridge(self) -> bool:
        """Whether the bridge exists: it has a card or an address of its own."""
        return bool(self.nic or self.address)

    @property
    def as_bridge(self) -> Bridge:
        """The settings of the bridge alone."""
        return Bridge(
            name=self.bridge,
            nic=self.nic,
            address=self.address,
            gateway=self.gateway,
            vlan=self.vlan,
            ipv6=self.ipv6,
            ipv6_gateway=self.ipv6_gateway,
            dhcp_range=self.dhcp_range,
            nat=self.nat,
            isolated=self.isolated,
        )


@dataclass(frozen=True)
class Disk:
    """Sizes of each of host.img's two slots for a root and of its EFI system partition, in MiB."""

    root_mib: int
    esp_mib: int


@dataclass(frozen=True)
class Guest:
    """A virtual machine; `devices` are addresses of `Machine.devices`. All guests with `autostart` run at once.

    `storage` names the one that its disk lies on (None: the host's data partition).
    `bridge` is the name of its bridge (None: the first). `cpus` lists processors of the host (None: those of the
    NUMA node of its devices), `cpu_weight` is its share of them beside other guests.
    """

    name: str
    memory_mib: int
    vcpus: int
    disk_gib: int
    mac: str
    devices: tuple[str, ...]
    autostart: bool
    embed: bool
    install: Install
    storage: str | None = None
    bridge: str | None = None
    cpus: str | None = None
    cpu_weight: int = DEFAULT_CPU_WEIGHT

    @property
    def account(self) -> int:
        """The number of the user and of the group that its QEMU has on the host.

        It comes from the name: what a guest owns stays its own, whatever host.toml names before it.
        """
        return ACCOUNTS.start + zlib.crc32(self.name.encode()) % len(ACCOUNTS)


@dataclass(frozen=True)
class Machine:
    """The content of host.toml. `memory_mib` is the host's memory; None if it is not given.

    `capture` is the file that hostwright-capture wrote on the machine. The passed devices are checked against it.
    `more_bridges` are those besides the one of `network`.
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
    storage: tuple[Storage, ...] = ()

    def find_storage(self, guest: Guest) -> Storage | None:
        """What the disk of `guest` lies on, if it is not the host's data partition."""
        return next((one for one in self.storage if one.name == guest.storage), None)

    bonds: tuple[Bond, ...] = ()
    more_bridges: tuple[Bridge, ...] = ()

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """Every bridge of the host; that of `network` is the first."""
        return (*((self.network.as_bridge,) if self.network.has_bridge else ()), *self.more_bridges)

    def bridge_of(self, guest: Guest) -> Bridge | None:
        """The bridge that a guest is on: the first, unless it names another; None if there is no bridge."""
        return next((one for one in self.bridges if guest.bridge in (None, one.name)), None)
