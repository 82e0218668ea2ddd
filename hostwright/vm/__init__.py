"""QEMU: its command line, and all that talks to it while it runs."""
