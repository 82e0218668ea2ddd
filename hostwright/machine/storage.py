"""`[[storage]]` of host.toml: a file system on disks for data, as a checked value.

host.toml -> machine.load -> Machine.storage -> rootfs/etc/hostwright/storage, which the host mounts
"""

import re
from dataclasses import dataclass

from hostwright.machine import values
from hostwright.machine.grammar import BadValueError, Field, Section, nearest, one_of, sequence, text

# Where data may be mounted: nothing of the system lies below.
PLACES = ("/srv", "/var/lib/hostwright/storage")
FILE_SYSTEMS = ("ext4", "xfs")
# No device node and no set-user-id bit of a disk counts on the host. What host.toml adds comes later, and wins.
_OWN_OPTIONS = ("nodev", "nosuid", "noatime")
# Words for fstab, words that make another kind of mount, and the opposite of the own ones.
_NO_OPTIONS = frozenset(
    (
        *("auto", "noauto", "nofail", "_netdev", "defaults", "user", "users", "owner", "group"),
        *("bind", "rbind", "move", "remount", "loop", "dev", "suid"),
    )
)


@dataclass(frozen=True)
class Storage:
    """A file system for data: `uuid` is its own, not that of an array or a partition; `options` are mount(8)'s."""

    name: str
    uuid: str
    mount: str
    type: str
    options: tuple[str, ...]

    @property
    def mount_options(self) -> str:
        """All options, as mount(8) takes them."""
        return ",".join((*_OWN_OPTIONS, *self.options))


def file_system_uuid(raw: object) -> str:
    """The UUID of an ext4 or XFS file system, in lower case."""
    given = text(raw).lower()
    if re.fullmatch(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", given):
        return given
    if re.fullmatch(r"[0-9a-f]{8}(?::[0-9a-f]{8}){3}", given):
        raise BadValueError("is the UUID of an array (mdadm)", _UUID_HINT)
    if re.fullmatch(r"[0-9a-z]{6}(?:-[0-9a-z]{4}){5}-[0-9a-z]{6}", given):
        raise BadValueError("is the UUID of a volume (LVM)", _UUID_HINT)
    raise BadValueError("not the UUID of a file system", _UUID_HINT)


_UUID_HINT = "take the UUID= that `blkid` shows for the file system itself"


def mount_point(raw: object) -> str:
    """A folder below one of PLACES, without blanks or anything that a path could mean otherwise."""
    path = text(raw)
    place = next((one for one in PLACES if path.startswith(f"{one}/")), None)
    if place is None:
        hint = f"choose a folder below {' or '.join(PLACES)}: all others are the system's own"
        raise BadValueError("not a place for data", hint)
    if not re.fullmatch(r"(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,62}){1,4}", path.removeprefix(place)):
        hint = f'up to four names of letters, digits, _ and -, as in "{place}/fast"'
        raise BadValueError("not a plain path", hint)
    return path


def mount_option(raw: object) -> str:
    """A word for `mount -o`. Refused are those of fstab, other kinds of mounts, and device nodes of the disk."""
    option = text(raw)
    if not re.fullmatch(r"[a-z0-9_]{1,40}(?:=[A-Za-z0-9_.:/-]{1,80})?", option):
        raise BadValueError("not a mount option", 'one word an entry, as in "discard" or "commit=30"')
    if option.partition("=")[0] in _NO_OPTIONS:
        raise BadValueError("not to be set here", "leave it out: the host mounts it at boot, as data alone")
    return option


def option_name(option: str) -> str:
    """The name of a mount option."""
    return option.partition("=")[0]


def _storage(*, name: str, mount: str | None, **rest: object) -> Storage:
    return Storage(name=name, mount=mount or f"{PLACES[0]}/{name}", **rest)  # type: ignore[arg-type]


STORAGE = Section(
    _storage,
    {
        "name": Field(values.label, 'name = "fast"', required=True),
        "uuid": Field(file_system_uuid, 'uuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"', required=True),
        "mount": Field(mount_point, 'mount = "/srv/fast"'),
        "type": Field(one_of(*FILE_SYSTEMS), 'type = "xfs"', default="ext4"),
        "options": Field(sequence(mount_option, option_name), 'options = ["discard"]', default=[]),
    },
)


def check(storage: tuple[Storage, ...], users: tuple[tuple[str | None, bool], ...]) -> None:
    """No two share a name, a UUID or a place, nor lie within each other; `users` are guests' storage and embed."""
    for key in ("name", "uuid", "mount"):
        _check_own(storage, key)
    for index, one in enumerate(storage):
        outer = next((other for other in storage if one.mount.startswith(f"{other.mount}/")), None)
        if outer:
            hint = "choose a place beside it: which of the two is mounted first would depend on the disks"
            raise BadValueError(f'lies within storage "{outer.name}"', hint, ("storage", index, "mount"))
    names = tuple(one.name for one in storage)
    for index, (name, is_embedded) in enumerate(users):
        way = ("guest", index, "storage")
        if name is not None and name not in names:
            hint = nearest(name, names) if names else "describe it in a [[storage]] table"
            raise BadValueError("no [[storage]] has this name", hint, way)
        if name is not None and is_embedded:
            hint = "leave embed out, and copy the guest's files to the storage"
            raise BadValueError("an embedded guest lies on the data partition of the image", hint, way)


def _check_own(storage: tuple[Storage, ...], key: str) -> None:
    first: dict[object, int] = {}
    for index, one in enumerate(storage):
        earlier = first.setdefault(getattr(one, key), index)
        if earlier != index:
            hint = f"give each storage its own {key}, or remove one of the two"
            raise BadValueError(f"already the {key} of storage[{earlier}]", hint, ("storage", index, key))
