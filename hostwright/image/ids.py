"""The ids of a disk and of the file systems on it."""

import uuid
from dataclasses import dataclass

from hostwright.base import canonical

_NAMESPACE = uuid.UUID("2b3ad3a1-5a4e-5d0c-9e0c-6f2f1b7a9f10")

# The name of a file system's place on the disk is part of its ids: two slots for a root, and the data below /var.
FIRST_SLOT, SECOND_SLOT, DATA = "a", "b", "data"


@dataclass(frozen=True)
class Ids:
    """All ids of a disk, as its tools and the kernel spell them; `esp_uuid` is the volume id, `XXXX-XXXX`.

    Those of the root belong to one slot of the disk, or to its data; the others to the whole of it.
    """

    disk_guid: str
    bios_partuuid: str
    esp_partuuid: str
    root_partuuid: str
    root_uuid: str
    esp_uuid: str
    hash_seed: str


def ids_for(name: str, slot: str = FIRST_SLOT) -> Ids:
    """The ids of the disk of machine `name`, with the root, or the data, in `slot`.

    Nothing else goes in, so that no other setting ever changes where a host finds its root.
    """

    def derived(*what: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, canonical.text([name, *what])))

    volume = canonical.digest(name, "esp")[:8].upper()
    return Ids(
        disk_guid=derived("disk"),
        bios_partuuid=derived("bios-boot partition"),
        esp_partuuid=derived("esp partition"),
        root_partuuid=derived("root partition", slot),
        root_uuid=derived("root", slot),
        esp_uuid=f"{volume[:4]}-{volume[4:]}",
        hash_seed=derived("hash seed", slot),
    )
