"""What a job in the build root sees of the machine: nothing that differs from one to the next."""

from hostwright.sandbox import buildroot, sandbox

TOOLS = buildroot.root(buildroot.load_lock()) / "tools"


def seen(line: str) -> str:
    """What a line of shell prints in the build root."""
    return sandbox.output(sandbox.Job(TOOLS, ("sh", "-euc", line), cwd="/"), TOOLS).decode()


def test_there_is_no_proc() -> None:
    """A chroot cannot have one: what configure finds there would not be the same everywhere."""
    assert seen("ls -A /proc") == ""


def test_it_is_user_0_at_the_fixed_time_zone_and_locale() -> None:
    assert seen('echo "$(id -u) $(date +%Z) $LC_ALL $(umask)"') == "0 UTC C 0022\n"
