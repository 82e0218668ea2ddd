"""Staged trees, rootfs/ and host.toml become a disk."""
