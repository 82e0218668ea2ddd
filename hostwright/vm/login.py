"""Logins to a guest on this machine's loopback: the only module that imports paramiko and cryptography.

    generate_key() --> public line --> preseed
                  \\-> private key --> connect() --> Session.run()

A fresh guest's host key is unknown and is taken as it comes: only loopback ports, behind which is a machine that we
started, are connected to. Session.fingerprint says which key it was.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import StringIO
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from hostwright.base.errors import UserError
from hostwright.base.times import limit

if TYPE_CHECKING:
    from paramiko import Channel, Transport
from base64 import b64encode

CONNECT_LIMIT_S = limit(120.0)
COMMAND_LIMIT_S = limit(60.0)
# One try: QEMU's port is open long before the guest behind it listens.
TRY_LIMIT_S = limit(15.0)
_RETRY_S = 0.5
_BLOCK = 1 << 15
GUESSABLE = frozenset({"none", "password", "keyboard-interactive"})

# What goes wrong is raised; paramiko would also print it, with a traceback.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_T = TypeVar("_T")


class SshError(UserError):
    """No login, or a command that did not come to its end."""


@dataclass(frozen=True)
class Key:
    """A key pair: the private key in OpenSSH's format, and the line for authorized_keys."""

    private: str
    public: str


def generate_key(comment: str = "hostwright") -> Key:
    """A new ed25519 key without a passphrase."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    return Key(private.decode("ascii"), f"{public.decode('ascii')} {comment}")


def connect(
    host: str,
    port: int,
    user: str,
    private_key: str,
    limit_s: float = CONNECT_LIMIT_S,
    try_limit_s: float = TRY_LIMIT_S,
) -> "Session":
    """Log in with a key, waiting until sshd answers, `try_limit_s` for each try; `host` is a loopback address.

    Raises SshError when the time is over, and at once where the key is refused.
    """
    from paramiko import AuthenticationException, Ed25519Key

    key = Ed25519Key.from_private_key(StringIO(private_key))

    def log_in(transport: "Transport") -> Session:
        try:
            transport.auth_publickey(user, key)
        except AuthenticationException as error:
            raise SshError(f"{user} may not log in with this key at {host}:{port}: {error}") from None
        return Session(transport)

    return _reach(host, port, limit_s, log_in, try_limit_s)


def find_methods(host: str, port: int, user: str, limit_s: float = TRY_LIMIT_S) -> frozenset[str]:
    """How the server lets `user` in (RFC 4252): `publickey`, `password` ..., or `none` where it requires nothing."""
    from paramiko import BadAuthenticationType

    def ask(transport: "Transport") -> frozenset[str]:
        with closing(transport):
            try:
                transport.auth_none(user)
            except BadAuthenticationType as error:
                return frozenset(error.allowed_types)
            return frozenset({"none"})

    return _reach(host, port, limit_s, ask)


def accepts_password(host: str, port: int, user: str = "root", limit_s: float = TRY_LIMIT_S) -> bool:
    """Whether one could get in by guessing, or without even that."""
    return bool(find_methods(host, port, user, limit_s) & GUESSABLE)


def read_banner(host: str, port: int, limit_s: float) -> str:
    """What a server says first, such as SSH-2.0-...; empty if nothing comes in time."""
    try:
        with socket.create_connection((host, port), timeout=limit_s) as line:
            return line.recv(_BLOCK).decode(errors="replace").strip()
    except OSError:
        return ""


class Session:
    """A login; `fingerprint` is that of the host key, as ssh-keygen(1) shows it."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self.fingerprint = transport.get_remote_server_key().fingerprint

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, command: str, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str]:
        """Run a shell command; its exit status, and what it wrote to standard output and error together.

        Raises SshError, with what it wrote so far, when the time is over or the guest goes away.
        """
        from paramiko import SSHException

        try:
            channel = self._transport.open_session(timeout=limit_s)
        except (SSHException, OSError, EOFError) as error:
            raise SshError(f"the guest cannot be asked to run {command!r}: {error}") from None
        with channel, _closed_after(limit_s, channel) as is_over:
            status, output = _execute(channel, command)
        if is_over():
            raise SshError(f"{command!r} did not end within {limit_s:g} s; it wrote:\n{output}")
        if status < 0:
            raise SshError(f"the guest went away during {command!r}, which wrote:\n{output}")
        return status, output

    def close(self) -> None:
        """Log out; a second call does nothing."""
        self._transport.close()


@contextmanager
def _closed_after(limit_s: float, channel: "Channel") -> Iterator[Callable[[], bool]]:
    """End whatever waits for the channel when the time is over; and whether it came to that."""
    is_over = threading.Event()

    def close() -> None:
        is_over.set()
        channel.close()

    timer = threading.Timer(limit_s, close)
    timer.daemon = True
    timer.start()
    try:
        yield is_over.is_set
    finally:
        timer.cancel()


def _execute(channel: "Channel", command: str) -> tuple[int, str]:
    """Exit status and output; -1 where the channel was closed first."""
    from paramiko import SSHException

    output, status = bytearray(), -1
    try:
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        while block := channel.recv(_BLOCK):
            output += block
        status = channel.recv_exit_status()
    except (SSHException, OSError, EOFError):
        # Closed from either side; what came before that is still the answer.
        pass
    return status, output.decode(errors="replace")


def _reach(
    host: str,
    port: int,
    limit_s: float,
    act: "Callable[[Transport], _T]",
    try_limit_s: float = TRY_LIMIT_S,
) -> _T:
    """Do `act` on a connection to sshd, tried again until it answers; raises SshError when the time is over."""
    from paramiko import SSHException

    if not ip_address(host).is_loopback:
        raise ValueError(f"{host} is no loopback address, and its host key is unknown")
    deadline = time.monotonic() + limit_s
    reason = "no time was given"
    while (left := deadline - time.monotonic()) > 0:
        try:
            return act(_handshake(host, port, min(left, try_limit_s)))
        except (SSHException, OSError, EOFError) as error:
            reason = str(error) or "the connection was closed"
            time.sleep(min(_RETRY_S, left))
    raise SshError(f"sshd did not answer at {host}:{port} within {limit_s:g} s: {reason}")


def _handshake(host: str, port: int, limit_s: float) -> "Transport":
    from paramiko import SSHException, Transport

    transport = Transport(socket.create_connection((host, port), timeout=limit_s))
    transport.banner_timeout = transport.handshake_timeout = limit_s
    transport.auth_timeout = max(limit_s, TRY_LIMIT_S)
    try:
        transport.start_client(timeout=limit_s)
        if not transport.initial_kex_done:
            raise SSHException(f"it says nothing for {limit_s:.1f} s")
    except BaseException:
        transport.close()
        raise
    return transport


def tmpfiles(user: str, key: str) -> str:
    """A credential with tmpfiles.d(5) lines that let `key` in, beside the guest's own keys."""
    home = f"/home/{user}/.ssh"
    lines = f"d {home} 0700 {user} {user} -\nf {home}/authorized_keys2 0600 {user} {user} - {key}\n"
    return f"tmpfiles.extra={b64encode(lines.encode()).decode()}"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
