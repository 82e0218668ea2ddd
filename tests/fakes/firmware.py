"""A stand-in for QEMU: plays boot menu, boot and self-check of one machine on its standard input and output.

    python3 firmware.py SELFCHECK.json [fault]

It prints what a terminal would get, escape sequences and echoes included. A fault makes it go wrong at one place.
"""

import sys
from pathlib import Path

TITLES = ("Hostwright lab", "Without passthrough", "Self-check, then power off")


class Fake:
    def __init__(self, document: str, fault: str) -> None:
        self.document, self.fault = document, fault
        self.variables = {"grub_platform": "efi", "extra": ""}

    def say(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def key(self) -> str:
        key = sys.stdin.read(1)
        if not key:
            sys.exit(1)
        return key

    def menu(self, at: int) -> None:
        self.say("\x1b[2J\x1b[4;2H+----+\x1b[18;2HUse the keys to select which entry is highlighted.\r\n")
        for number, title in enumerate(TITLES):
            self.say(f"\x1b[{5 + number};3H\x1b[7m{'*' if number == at else ' '}{title}\x1b[m")

    def choose(self) -> int:
        at = 0
        self.menu(at)
        self.say("\x1b[22;1H   The highlighted entry will be executed automatically in 5s.   ")
        while (key := self.key()) != "\r":
            if key == "c":
                self.prompt()
                self.menu(at)
            elif key == "\x0e":
                at += 1
                self.say(f"\x1b[{5 + at};3H\x1b[7m*{TITLES[at]}\x1b[m")
        return at

    def prompt(self) -> None:
        line = ""
        self.say("\x1b[2J\r\ngrub> ")
        while (key := self.key()) != "\x1b":
            if key == "\r":
                self.obey(line)
                line = ""
                self.say("\r\ngrub> ")
            else:
                line += key
                self.say(f"\x1b[m{key}")

    def obey(self, line: str) -> None:
        if line.startswith("set "):
            name, _, value = line[4:].partition("=")
            self.variables[name] = value.strip('"')
        elif line == "echo platform=$grub_platform":
            self.say(f"\r\nplatform={self.variables['grub_platform']}\r\n")

    def boot(self, entry: int) -> None:
        if self.fault == "no-kernel":
            self.say("error: file `/boot/vmlinuz' not found.\r\n\r\nPress any key to continue...")
            self.key()
        words = f"entry={entry} {self.variables['extra']}"
        self.say(f"[    0.000000] Linux version 6.12.0\r\n[    0.000000] Command line: {words}\r\n")
        self.say("[    0.000000] efi: EFI v2.7 by EDK II\r\n")
        if self.fault == "panic":
            self.say("[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n")
            self.key()
        self.say(f"HOSTWRIGHT-SELFCHECK-BEGIN\r\n{self.document}\r\nHOSTWRIGHT-SELFCHECK-END\r\n")
        if self.fault == "no-power-off":
            self.say("[    9.0] a script hangs\r\n")
            self.key()
        self.say("[    9.9] reboot: Power down\r\n")


def main() -> None:
    document = Path(sys.argv[1]).read_text()
    fault = sys.argv[2] if len(sys.argv) > 2 else ""
    fake = Fake("{ not json" if fault == "bad-json" else document, fault)
    if fault == "shell":
        fake.say("UEFI Interactive Shell v2.2\r\n")
        fake.key()
    if fault == "dies":
        print("qemu-system-x86_64: no such device")
        sys.exit(1)
    fake.boot(fake.choose())


main()
