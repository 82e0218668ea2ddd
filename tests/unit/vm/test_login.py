"""Logins to a real SSH server on loopback, made of paramiko's own."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from hostwright.vm import login
from hostwright.vm.login import Key, SshError


@dataclass
class Sshd:
    """A server that lets `user` in with `key` and runs what is asked of it in a shell."""

    key: Key
    host_key: Key
    methods: str = "publickey"
    sessions: list[paramiko.Transport] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(paramiko.Ed25519Key.from_private_key(StringIO(self.host_key.private)))
            self.sessions.append(transport)
            with suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=Desk(self))


class Desk(paramiko.ServerInterface):
    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd

    def get_allowed_auths(self, username: str) -> str:
        return self.sshd.methods

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL if self.sshd.methods == "none" else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        fits = self.sshd.key.public.split()[1] == key.get_base64() and username == "root"
        return AUTH_SUCCESSFUL if fits else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # Not before this answer is out: a channel that closes first has refused the command, to its client.
        later = threading.Timer(0.1, self.run, args=(channel, command.decode()))
        later.daemon = True
        later.start()
        return True

    def run(self, channel: paramiko.Channel, command: str) -> None:
        if command == "die":
            channel.send(b"dying")
            time.sleep(0.2)
            self.sshd.sessions[-1].close()
            return
        with subprocess.Popen(
            ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as child:
            assert child.stdout and child.stderr
            with suppress(OSError):
                while block := child.stdout.read(65536):
                    channel.sendall(block)
                channel.sendall_stderr(child.stderr.read())
            child.wait()
        channel.send_exit_status(child.returncode)
        channel.close()


@contextmanager
def serving(sshd: Sshd) -> Iterator[Sshd]:
    with socket.create_server(("127.0.0.1", sshd.port)) as listener:
        sshd.port = listener.getsockname()[1]
        threading.Thread(target=sshd.serve, args=(listener,), daemon=True).start()
        yield sshd
        listener.shutdown(socket.SHUT_RDWR)
    for session in sshd.sessions:
        session.close()


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    with serving(Sshd(login.generate_key(), login.generate_key())) as running:
        yield running


@pytest.fixture
def session(sshd: Sshd) -> Iterator[login.Session]:
    with login.connect("127.0.0.1", sshd.port, "root", sshd.key.private, limit_s=10) as logged_in:
        yield logged_in


def test_every_key_is_new_and_both_halves_fit() -> None:
    one, other = login.generate_key("me@here"), login.generate_key()
    assert one.public != other.public
    assert one.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    kind, body, comment = one.public.split()
    assert (kind, comment) == ("ssh-ed25519", "me@here")
    assert paramiko.Ed25519Key.from_private_key(StringIO(one.private)).get_base64() == body


def test_status_and_output_come_back(session: login.Session) -> None:
    assert session.run("echo one; echo two >&2; exit 3") == (3, "one\ntwo\n")
    assert session.run("true") == (0, "")


def test_a_lot_of_output_is_whole(session: login.Session) -> None:
    status, output = session.run("seq 200000")
    assert (status, output.splitlines()[-1], len(output.splitlines())) == (0, "200000", 200000)


def test_the_host_key_is_named(session: login.Session, sshd: Sshd) -> None:
    key = paramiko.Ed25519Key.from_private_key(StringIO(sshd.host_key.private))
    assert session.fingerprint == key.fingerprint
    assert session.fingerprint.startswith("SHA256:")


def test_a_slow_command_is_ended_and_the_session_goes_on(session: login.Session) -> None:
    started = time.monotonic()
    with pytest.raises(SshError, match=r"(?s)'echo first; sleep 20' did not end within 0\.5 s.*first"):
        session.run("echo first; sleep 20", limit_s=0.5)
    assert time.monotonic() - started < 5
    assert session.run("echo again") == (0, "again\n")


def test_a_guest_that_goes_away_is_told(session: login.Session) -> None:
    with pytest.raises(SshError, match=r"(?s)the guest went away during 'die'.*dying"):
        session.run("die")
    with pytest.raises(SshError, match="cannot be asked to run 'true'"):
        session.run("true")
    session.close()
    session.close()


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_refused_key_is_told_at_once(sshd: Sshd, user: str) -> None:
    key = login.generate_key() if user == "root" else sshd.key
    started = time.monotonic()
    with pytest.raises(SshError, match=rf"{user} may not log in with this key at 127\.0\.0\.1:{sshd.port}"):
        login.connect("127.0.0.1", sshd.port, user, key.private, limit_s=30)
    assert time.monotonic() - started < 10


def test_a_server_that_comes_late_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    late = Sshd(login.generate_key(), login.generate_key(), port=port)
    stop = threading.Event()

    def start() -> None:
        time.sleep(0.7)
        with serving(late):
            stop.wait(20)

    threading.Thread(target=start, daemon=True).start()
    with login.connect("127.0.0.1", port, "root", late.key.private, limit_s=20) as session:
        assert session.run("echo there") == (0, "there\n")
    stop.set()


def test_nobody_there_is_told_in_time() -> None:
    # Bound, so that no other test gets the port, but not listening.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        wanted = rf"did not answer at 127\.0\.0\.1:{port} within 0\.3 s: .*refused"
        with pytest.raises(SshError, match=wanted):
            login.connect("127.0.0.1", port, "root", login.generate_key().private, limit_s=0.3)


def test_a_port_that_says_nothing_does_not_hang_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(SshError, match=r"within 0\.5 s: "):
            login.accepts_password("127.0.0.1", silent.getsockname()[1], limit_s=0.5)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("methods", "guessable"),
    [
        ("publickey", False),
        ("publickey,password", True),
        ("publickey,keyboard-interactive", True),
        ("none", True),
    ],
)
def test_passwords_are_found_out(sshd: Sshd, methods: str, guessable: bool) -> None:
    sshd.methods = methods
    assert login.accepts_password("127.0.0.1", sshd.port) is guessable
    assert login.find_methods("127.0.0.1", sshd.port, "root") == set(methods.split(","))


def test_only_loopback_is_connected_to() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.1 is no loopback address"):
        login.accepts_password("192.0.2.1", 22)


def greet(listener: socket.socket, greeting: bytes) -> None:
    with listener.accept()[0] as line:
        line.sendall(greeting)
        # A server that says nothing keeps the line.
        if not greeting:
            line.recv(1)


@pytest.mark.parametrize("greeting, read", [(b"SSH-2.0-x\r\n", "SSH-2.0-x"), (b"", "")])
def test_a_server_is_known_by_what_it_says_first(greeting: bytes, read: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=greet, args=(listener, greeting), daemon=True)
        server.start()
        assert login.read_banner("127.0.0.1", listener.getsockname()[1], 5.0 if greeting else 0.2) == read
        server.join()


def test_where_nobody_listens_nothing_is_said() -> None:
    assert login.read_banner("127.0.0.1", login.free_port(), 1.0) == ""
