"""The kernel: from source, patches, fragments and host.toml to bzImage and modules.

    linux source + patches --prepare--> work/linux-<key>/src
    kconfig/*.config + host.toml options --resolve--> .config, compared line by line with the request
    .config --build--> bzImage, System.map, modules in the store

The work folder outlives a build, so that a changed option costs an incremental make; its key is all that the
source tree depends on. Kbuild tracks every option and command line itself (Documentation/kbuild/kbuild.rst).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hostwright.base import files, jobs, paths, texts
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.build import checks, kconfig, package, recipes, stage, store
from hostwright.build.script import PATCH, PROLOGUE, UNPACK, source_name
from hostwright.machine.model import Machine
from hostwright.recipe import Kernel, Recipe
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop

EXPLAIN = Path(__file__).parent / "explain.c"

# Reproducible builds: Documentation/kbuild/reproducible-builds.rst. The kernel shows the time as it is written here.
BUILT = datetime.fromtimestamp(EPOCH, UTC).strftime("%a %b %e %H:%M:%S UTC %Y")
IDENTITY = f"""\
export KBUILD_BUILD_TIMESTAMP='{BUILT}' KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=hostwright KBUILD_BUILD_HOST=hostwright
"""

PREPARE = f"""\
{PROLOGUE}
rm -rf src obj && mkdir src obj
{UNPACK.format(name=source_name(0), folder="src")}
chmod -R u+rwX src
{PATCH}
"""

MAKE = f"""\
set -eu
{IDENTITY}
cd /build/obj
make="make -C /build/src O=/build/obj ARCH=x86"
cmp -s /build/config .config || cp /build/config .config
$make olddefconfig
cmp /build/config .config
$make bzImage modules
mkdir -p /out/boot
cp arch/x86/boot/bzImage /out/boot/vmlinuz
cp System.map /out/boot/System.map
cp .config /out/boot/config
$make INSTALL_MOD_PATH=/out/usr INSTALL_MOD_STRIP=1 modules_install
rm -f /out/usr/lib/modules/*/build /out/usr/lib/modules/*/source
"""


@dataclass(frozen=True)
class Resolved:
    """A configuration that honours every request, and those requests."""

    config: str
    requests: tuple[kconfig.Request, ...]


def fragments() -> list[Path]:
    """The fragments in the order in which they are read; none at all is a UserError."""
    found = sorted(paths.KCONFIG.glob("*.config"))
    if not found:
        raise UserError("kconfig/ has no fragment *.config", texts.restore(paths.KCONFIG))
    return found


def requests(machine: Machine) -> list[kconfig.Request]:
    """All requested options; a malformed line, or two that disagree, is a UserError."""
    parsed = [kconfig.parse_fragment(f"kconfig/{one.name}", texts.read_text(one)) for one in fragments()]
    return kconfig.merge([*parsed, kconfig.parse_options(machine.kernel.options)])


def resolve(machine: Machine, shop: Workshop) -> Resolved:
    """The .config for `machine`; a request that does not survive is a UserError that says why."""
    recipe = recipes.load_recipe("linux")
    wanted = requests(machine)
    text, plan = kconfig.render_requests(wanted), _plan(recipe)
    key = store.make_key(_source_key(recipe, shop), plan, text, files.digest(EXPLAIN))
    kept = store.find("linux-config", recipe.version, key)
    if kept is None:
        with files.locked(_work(recipe, shop).with_suffix(".lock")):
            config = _resolve(recipe, wanted, shop)
            kept = _keep_config(recipe, key, config)
    return Resolved((kept.tree / "config").read_text(), tuple(wanted))


def check_golden(resolved: Resolved, machine: Machine) -> None:
    """Raise UserError if the configuration of a machine without options of its own is not the committed one."""
    if machine.kernel.options:
        return
    golden = texts.read_text(paths.RESOLVED_CONFIG) if paths.RESOLVED_CONFIG.exists() else ""
    if drift := kconfig.drift(resolved.config, golden):
        where = paths.RESOLVED_CONFIG.relative_to(paths.TREE)
        raise UserError(
            f"the resolved kernel configuration is not {where}:\n{drift}",
            "if each of these lines is meant, accept them with ./doit accept-config and commit the file",
        )


def build_kernel(config: str, shop: Workshop) -> store.Built:
    """Build bzImage and modules for `config`, or take them from the store."""
    recipe = recipes.load_recipe("linux")
    key = store.make_key(_source_key(recipe, shop), MAKE, config)
    found = store.find("linux", recipe.version, key)
    if found is None:
        with files.locked(_work(recipe, shop).with_suffix(".lock")):
            found = store.find("linux", recipe.version, key) or _make(recipe, key, config, shop)
    store.write_stamp(found)
    return found


def release(built: store.Built) -> str:
    """What `uname -r` will say: the name of the modules' folder."""
    return next((built.tree / "usr/lib/modules").iterdir()).name


def _base(recipe: Recipe) -> str:
    if not isinstance(recipe.build, Kernel):
        raise TypeError("recipes/linux.py is not of the kind Kernel")
    return recipe.build.base


def _plan(recipe: Recipe) -> str:
    return kconfig.plan_resolve(_base(recipe), "/build/requests")


def _source_key(recipe: Recipe, shop: Workshop) -> str:
    digests = [files.digest(patch) for patch in recipes.patches(recipe)]
    closed = sandbox.text(_job(Path(), Path()))
    return store.make_key(recipe.source.sha256, PREPARE, closed, shop.key, *digests)


def _work(recipe: Recipe, shop: Workshop) -> Path:
    return paths.work() / f"linux-{_source_key(recipe, shop)[:16]}"


def _execute(recipe: Recipe, what: str, script: str, shop: Workshop) -> None:
    """Run a script in the kernel's work folder, with the sandbox's /build there and /out beside it."""
    work = _work(recipe, shop)
    (work / "build" / "script").write_text(script)
    # A finished build has taken its staged tree away.
    (work / "out").mkdir(exist_ok=True)
    job = _job(shop.root, work)
    tokens = sandbox.Bind(jobs.folder(), "/jobs", writable=True)
    job = replace(job, binds=(*job.binds, tokens), env=package.job_environment())
    shop.run(what, job)


def _job(root: Path, work: Path) -> sandbox.Job:
    binds = tuple(
        sandbox.Bind(work / name, f"/{name}", writable=name in ("build", "out"))
        for name in ("sources", "patches", "build", "out")
    )
    return sandbox.Job(root / "tools", ("sh", "-x", "/build/script"), binds)


def _prepare(recipe: Recipe, shop: Workshop) -> None:
    """Unpack and patch the source unless that was done; a half-unpacked tree is done again."""
    work = _work(recipe, shop)
    if (work / "prepared").exists():
        return
    files.remove(work)
    for name in ("sources", "patches", "build", "out"):
        (work / name).mkdir(parents=True)
    package.place_inputs(recipe, work)
    _execute(recipe, "unpacking the kernel", PREPARE, shop)
    files.write(work / "prepared", "")


def _resolve(recipe: Recipe, wanted: list[kconfig.Request], shop: Workshop) -> str:
    _prepare(recipe, shop)
    folder = _work(recipe, shop) / "build"
    (folder / "requests").write_text(kconfig.render_requests(wanted))
    _execute(recipe, "configuring the kernel", f"set -eu\n{_plan(recipe)}", shop)
    config = (folder / "obj" / ".config").read_text()
    doubts = kconfig.doubtful(wanted, kconfig.parse_config(config))
    explanations = _explain(recipe, doubts, shop) if doubts else {}
    if failed := kconfig.failures(doubts, explanations):
        raise kconfig.dropped_error(failed, explanations)
    return config


def _explain(recipe: Recipe, doubts: list[kconfig.Dropped], shop: Workshop) -> dict[str, kconfig.Explanation]:
    folder = _work(recipe, shop) / "build"
    files.write(folder / EXPLAIN.name, EXPLAIN.read_text())
    plan = kconfig.plan_explain(doubts, f"/build/{EXPLAIN.name}", "/build/explained")
    _execute(recipe, "asking the kernel's Kconfig", f"set -eu\n{plan}", shop)
    return kconfig.parse_explanations((folder / "explained").read_text())


def _keep_config(recipe: Recipe, key: str, config: str) -> store.Built:
    with store.being_built("linux-config", key) as folder:
        (folder / "out").mkdir()
        (folder / "out" / "config").write_text(config)
        return store.keep("linux-config", recipe.version, key, folder / "out")


def _make(recipe: Recipe, key: str, config: str, shop: Workshop) -> store.Built:
    _prepare(recipe, shop)
    work = _work(recipe, shop)
    files.remove(work / "out")
    (work / "out").mkdir()
    files.write(work / "build" / "config", config)
    _execute(recipe, "building the kernel", MAKE, shop)
    checks.check(recipe, work / "out", ())
    return store.keep("linux", recipe.version, key, work / "out")


def place(built: store.Built, folder: Path) -> None:
    """Lay bzImage, System.map and the modules into dist/kernel."""
    for name, source in (("bzImage", "boot/vmlinuz"), ("System.map", "boot/System.map")):
        files.write(folder / name, (built.tree / source).read_bytes())
    with files.folder_replaced(folder / "modules") as new:
        stage.copy_tree(built.tree / "usr/lib/modules", new)
