"""Joins a connection of a guest with the archive's port of loopback: QEMU starts one for each (-netdev user, guestfwd).

Standard input and output are one socket, the guest's end.
"""

import socket
import sys
from contextlib import suppress
from threading import Thread


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass on all bytes, and then the end."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main() -> None:
    """Copy both ways until both ends have closed."""
    guest = socket.socket(fileno=0)
    # The archive is gone: the connection ends.
    with suppress(OSError), socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as archive:
        back = Thread(target=copy, args=(archive, guest))
        back.start()
        copy(guest, archive)
        back.join()


if __name__ == "__main__":
    main()
