"""A disk that is full, read-only or failing, at changes all over each phase: one clear error, nothing half-made is
taken, and the next run goes on.
"""

import errno
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from doit.dependency import JSONCodec

from hostwright.base import files, intact, paths
from hostwright.base.pin import Pin
from hostwright.build import package, store
from hostwright.guest import workplace
from hostwright.image import disk as image
from hostwright.image import manifest
from hostwright.machine.load import load
from hostwright.sandbox import buildroot
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch
from hostwright.source.depot import Depot
from hostwright.tasks import define, times
from hostwright.tasks.state import State
from hostwright.torture import slow
from tests.fakes.disk import Disk
from tests.unit.formats.test_deb import entry, make_deb

CONTENT = random.Random(20).randbytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIN = Pin("pool/x", SHA256, size=len(CONTENT), name="thing")
# So many changes of each phase are struck: all of the short ones.
MOST_CHANGES = 8
NUMBERS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO}


@dataclass(frozen=True)
class Scene:
    """A cache and a dist of their own, on a disk that can fail; `mirror` has the file of PIN."""

    folder: Path
    mirror: str
    disk: Disk

    @property
    def dist(self) -> Path:
        return self.folder / "dist"


@pytest.fixture
def scene(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "DIST", tmp_path / "dist")
    monkeypatch.setattr(paths, "PACKAGES", tmp_path / "dist" / "packages")
    monkeypatch.setattr(paths, "GUESTS", tmp_path / "dist" / "guest")
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=lambda _: None))
    (tmp_path / "dist").mkdir()
    paths.cache().mkdir(parents=True, mode=0o700)
    # Out of the reach of the faults.
    served = tmp_path_factory.mktemp("served") / "x"
    served.write_bytes(CONTENT)
    with slow.archive({PIN.path: served}) as mirror:
        monkeypatch.setenv("HOSTWRIGHT_MIRROR", mirror)
        yield Scene(tmp_path, mirror, Disk(tmp_path, monkeypatch))
        monkeypatch.undo()


# Each phase: what it does, and what must hold of what is there, if it is there. The result is true once all is made.


def download(scene: Scene) -> bool:
    fetch.fetch_all([PIN], [scene.mirror], lambda _: None)
    return fetch.is_here(SHA256)


def has_no_half_download(_: Scene) -> bool:
    return not fetch.is_here(SHA256) or files.digest(fetch.local(SHA256)) == SHA256


def keep_for_installers(scene: Scene) -> bool:
    with Depot(paths.cache() / "archive", [scene.mirror]) as depot, depot.take("pool/x") as stream:
        for _ in stream.blocks:
            pass
    return True


def has_no_half_archive(_: Scene) -> bool:
    place = paths.cache() / "archive" / "pool/x"
    return not place.exists() or place.read_bytes() == CONTENT


def tools() -> list[Pin]:
    """A build root of one package, which is in the cache."""
    package_file = paths.cache().parent.parent / "base-files.deb"
    if not package_file.exists():
        entries = [entry("./usr/bin/", tarfile.DIRTYPE), entry("./usr/bin/tool", mode=0o755)]
        make_deb(package_file, entries, {"./usr/bin/tool": CONTENT[:999]})
    pin = Pin("pool/base-files.deb", files.digest(package_file), name="base-files")
    target = fetch.local(pin.sha256)
    if not target.exists():
        # Before the disk begins to fail.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(package_file.read_bytes())
    return [pin]


def unpack(_: Scene) -> bool:
    folder = buildroot.unpack(tools())
    return (folder / "target/usr/bin/tool").exists()


def has_no_half_root(_: Scene) -> bool:
    folder = buildroot.root(tools())
    return not folder.exists() or all(
        (folder / view / "usr/bin/tool").read_bytes() == CONTENT[:999]
        and (folder / view / "usr/bin/which").is_symlink()
        and (folder / view / buildroot.FOLDERS[-1]).is_dir()
        for view in ("tools", "target")
    )


def stage_and_keep(_: Scene) -> bool:
    if store.find("thing", "1", "k" * 32) is None:
        with store.being_built("thing", "k" * 32) as folder:
            (folder / "out/usr/bin").mkdir(parents=True)
            (folder / "out/usr/bin/tool").write_bytes(CONTENT)
            (folder / "out/usr/bin/alias").symlink_to("tool")
            store.keep("thing", "1", "k" * 32, folder / "out")
    found = store.find("thing", "1", "k" * 32)
    assert found
    store.write_stamp(found)
    return store.is_stamped("thing")


def has_no_half_package(_: Scene) -> bool:
    folder = paths.store() / ("thing-" + "k" * 32)
    whole = not folder.exists() or store.is_whole(folder, again=True)
    return whole and (not store.is_stamped("thing") or (folder / "tree/usr/bin/tool").read_bytes() == CONTENT)


def lay_out(scene: Scene) -> bool:
    """The sysroot of a build, which begins empty each time."""
    stage_and_keep(scene)
    files.remove(scene.folder / "sysroot")
    (scene.folder / "sysroot").mkdir()
    package.make_sysroot(scene.folder / "sysroot", [store.read_stamp("thing")])
    return (scene.folder / "sysroot/usr/bin/tool").read_bytes() == CONTENT


class FakeShop(Workshop):
    """A workshop whose sandbox writes the disk at once."""

    def run(self, what: str, job: object) -> None:
        (self.cache / ".host.img.work" / "disk").write_bytes(CONTENT)


def write_image(scene: Scene) -> bool:
    archives = image.Archives(scene.folder / "dist" / "rootfs.tar", scene.folder / "dist" / "data.tar")
    files.write(archives.root, b"root")
    files.write(archives.data, b"data")
    shop = FakeShop(scene.folder, "", scene.dist, scene.folder / "log")
    image.write_image(load(paths.TREE / "host.toml"), archives, scene.folder, scene.dist / "host.img", shop)
    return True


def has_no_half_image(scene: Scene) -> bool:
    target = scene.dist / "host.img"
    return not target.exists() or target.read_bytes() == CONTENT


def write_manifest(scene: Scene) -> bool:
    files.write(scene.dist / "host.img", CONTENT)
    manifest.write_manifest(scene.dist, scene.dist / "MANIFEST", "tree")
    return manifest.verify(scene.dist, scene.dist / "MANIFEST") == "tree"


def has_no_half_manifest(scene: Scene) -> bool:
    target = scene.dist / "MANIFEST"
    return not target.exists() or manifest.load(target) == {"host.img": SHA256}


def save_state(scene: Scene) -> bool:
    state = State(str(scene.dist / ".state.json"), codec=JSONCodec())
    state.set("task", "key", "value")
    state.dump()
    return True


def has_no_half_state(scene: Scene) -> bool:
    target = scene.dist / ".state.json"
    return not target.exists() or json.loads(target.read_text()) == {"task": {"key": "value"}}


def remember_times(_: Scene) -> bool:
    times.remember("task", 5.0)
    return True


def has_no_half_times(_: Scene) -> bool:
    target = paths.cache() / "times.json"
    return not target.exists() or "task" in json.loads(target.read_text())


def publish(scene: Scene) -> bool:
    """A guest that is installed takes the place of the one before."""
    (scene.dist / "ovmf").mkdir(exist_ok=True)
    files.write(scene.dist / "ovmf" / "OVMF_CODE.fd", b"code")
    with workplace.workplace("debian") as work:
        (work / "disk.qcow2").write_bytes(CONTENT)
        files.write(work / "manifest.json", "{}")
        workplace.publish(work)
    return (paths.GUESTS / "debian" / "disk.qcow2").exists()


def has_no_half_guest(_: Scene) -> bool:
    folder = paths.GUESTS / "debian"
    return not folder.exists() or all(
        (folder / name).exists() for name in ("disk.qcow2", "manifest.json", "OVMF_CODE.fd")
    )


Phase = tuple[Callable[[Scene], bool], Callable[[Scene], bool]]
PHASES: dict[str, Phase] = {
    "download": (download, has_no_half_download),
    "archive": (keep_for_installers, has_no_half_archive),
    "unpack": (unpack, has_no_half_root),
    "store": (stage_and_keep, has_no_half_package),
    "sysroot": (lay_out, has_no_half_package),
    "image": (write_image, has_no_half_image),
    "manifest": (write_manifest, has_no_half_manifest),
    "state": (save_state, has_no_half_state),
    "times": (remember_times, has_no_half_times),
    "guest": (publish, has_no_half_guest),
}


@pytest.fixture(autouse=True)
def _no_boot_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image, "_place_boot_code", lambda *_: None)
    monkeypatch.setattr(paths, "OVMF", tmp_path / "dist" / "ovmf")


def begin_anew(scene: Scene, act: Callable[[Scene], bool]) -> None:
    for one in scene.folder.iterdir():
        files.remove(one)
    paths.cache().mkdir(parents=True, mode=0o700)
    scene.dist.mkdir()
    if act is unpack:
        tools()


def test_there_are_faults_enough() -> None:
    assert len(PHASES) * len(NUMBERS) >= 20


def choose_changes(scene: Scene, act: Callable[[Scene], bool]) -> list[int]:
    """The first, the last and others of the changes that a phase makes, counted from 1 on."""
    begin_anew(scene, act)
    scene.disk.fail(0, 0)
    assert act(scene)
    count = scene.disk.changes
    return sorted({1, count, *random.Random(20).sample(range(1, count + 1), min(count, MOST_CHANGES))})


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_fault_at_any_change_is_one_clear_error(scene: Scene, phase: str, kind: str) -> None:
    act, holds = PHASES[phase]
    hits = 0
    for at in choose_changes(scene, act):
        where = f"change {at} of {phase}"
        begin_anew(scene, act)
        scene.disk.fail(NUMBERS[kind], at)
        result = define._guarded(lambda: act(scene), counted=False)
        hits += scene.disk.hits
        scene.disk.fail(0, 0)
        if result is not None:
            text = str(result.get_msg())
            assert os.strerror(NUMBERS[kind]) in text and "\n  hint: " in text, where
            assert "Traceback" not in text, where
        assert holds(scene), where
        assert define._guarded(lambda: act(scene), counted=False) is None, f"the run after {where}"
        assert act(scene) and holds(scene), where
    assert hits >= 2, "no change was struck"


def test_a_file_that_may_not_grow_is_a_clear_error_in_a_real_run(tmp_path: Path) -> None:
    """The kernel itself refuses: RLIMIT_FSIZE, and SIGXFSZ, which Python ignores."""
    program = (
        "import sys; from pathlib import Path; from hostwright.base import files\n"
        "from hostwright.tasks import define\n"
        "print(define._guarded(lambda: files.write(Path(sys.argv[1]), bytes(1 << 20)), False).get_msg())"
    )
    environment = {"PYTHONPATH": str(paths.TREE), "XDG_CACHE_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    target = tmp_path / "file"
    target.write_text("old")
    result = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
    )
    assert "File too large" in result.stdout and "hint: " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert target.read_text() == "old"


def test_the_record_of_a_check_is_not_worth_an_error(scene: Scene) -> None:
    download(scene)
    files.remove(intact.record(fetch.local(SHA256)))
    scene.disk.fail(errno.ENOSPC, 1)
    assert fetch.is_intact(SHA256)
    assert scene.disk.hits
