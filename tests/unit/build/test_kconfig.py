"""Fragments of kernel options: what is read, what is refused, what is found missing afterwards."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.base.paths import KCONFIG
from hostwright.build import kconfig
from hostwright.build.kconfig import Dropped, Explanation, Request

FRAGMENTS = sorted(KCONFIG.glob("*.config"))
SYMBOLS = st.from_regex(r"CONFIG_[A-Z][A-Z0-9_]{0,12}", fullmatch=True)
VALUES = st.one_of(
    st.sampled_from(["y", "m", "n"]),
    st.integers(-5, 99999).map(str),
    st.integers(0, 99999).map(hex),
    st.text(
        st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=9
    ).map(lambda text: f'"{text}"'),
)


def test_reads_options_with_their_lines() -> None:
    text = (
        '# why\nCONFIG_VFIO=m\n\n# CONFIG_DRM is not set\nCONFIG_NR_CPUS=512\nCONFIG_LOCALVERSION="-x # y"\n'
    )
    assert kconfig.parse_fragment("kconfig/a.config", text) == [
        Request("kconfig/a.config", 2, "CONFIG_VFIO", "m"),
        Request("kconfig/a.config", 4, "CONFIG_DRM", "n"),
        Request("kconfig/a.config", 5, "CONFIG_NR_CPUS", "512"),
        Request("kconfig/a.config", 6, "CONFIG_LOCALVERSION", '"-x # y"'),
    ]


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("VFIO=m", "write `CONFIG_VFIO=m`"),
        ("vfio = m", "write `CONFIG_VFIO=m`"),
        (" CONFIG_VFIO=m", "write `CONFIG_VFIO=m`"),
        ("CONFIG_VFIO = m", "write `CONFIG_VFIO=m`"),
        ("CONFIG_VFIO=M", "write `CONFIG_VFIO=m`"),
        ("CONFIG_VFIO=yes", "write `CONFIG_VFIO=y`"),
        ("CONFIG_VFIO=module", "write `CONFIG_VFIO=m`"),
        ('CONFIG_VFIO="y"', None),
        ("CONFIG_VFIO=", "write `CONFIG_VFIO=n`"),
        ("CONFIG_VFIO=m # the core", "write `CONFIG_VFIO=m` alone, its reason on a line above"),
        ("CONFIG_LOCALVERSION=-mine", 'write `CONFIG_LOCALVERSION="-mine"`'),
        ("CONFIG_DRM is not set", "write `# CONFIG_DRM is not set`"),
        ("#CONFIG_DRM is not set", "write `# CONFIG_DRM is not set`"),
        ("# CONFIG_DRM is not set.", "write `# CONFIG_DRM is not set`"),
        ("#  CONFIG_DRM  is not set", "write `# CONFIG_DRM is not set`"),
        ("# CONFIG_DRM=y", "remove the # to ask for `CONFIG_DRM=y`, or delete the line"),
        ("please", "write CONFIG_NAME=y"),
        ("CONFIG_VFIO", "write CONFIG_NAME=y"),
        ("# CONFIG_DRM is not set by anybody", None),
        ("# Without CONFIG_IRQ_REMAP=y a guest raises any interrupt", None),
        ("#", None),
        ("   ", None),
    ],
)
def test_a_line_that_is_no_option_names_the_nearest_fix(line: str, fix: str | None) -> None:
    text = f"CONFIG_A=y\n{line}\n"
    if fix is None:
        assert kconfig.parse_fragment("f", text)[0].symbol == "CONFIG_A"
        return
    with pytest.raises(UserError) as caught:
        kconfig.parse_fragment("kconfig/net.config", text)
    assert caught.value.message == f"kconfig/net.config:2: not a kernel option: {line}"
    assert caught.value.hint.startswith(fix)


def test_options_of_the_machine_file_are_requests_like_any_other() -> None:
    requests = kconfig.parse_options(["CONFIG_BTRFS_FS=m", "# CONFIG_XFS_FS is not set"])
    assert [(r.where, r.symbol, r.wanted) for r in requests] == [
        ("host.toml [kernel] options:1", "CONFIG_BTRFS_FS", "m"),
        ("host.toml [kernel] options:2", "CONFIG_XFS_FS", "n"),
    ]


def test_fragments_that_disagree_are_both_named() -> None:
    one = kconfig.parse_fragment("kconfig/kvm.config", "CONFIG_TUN=m\n")
    other = kconfig.parse_options(["CONFIG_TUN=y"])
    with pytest.raises(
        UserError, match=r"kconfig/kvm.config:1 requests CONFIG_TUN=m, host.toml .*:1 for CONFIG_TUN=y"
    ):
        kconfig.merge([one, other])


def test_fragments_may_ask_for_the_same() -> None:
    one = kconfig.parse_fragment("a", "CONFIG_VFAT_FS=y\nCONFIG_BASE=0x10\n")
    other = kconfig.parse_fragment("b", "CONFIG_VFAT_FS=y\nCONFIG_BASE=16\n")
    assert kconfig.merge([one, other]) == one


def test_what_did_not_survive_is_found() -> None:
    requests = kconfig.parse_fragment(
        "f",
        '# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_D="x"\nCONFIG_E=0x1F\n'
        "# CONFIG_F is not set\nCONFIG_G=y\n",
    )
    resolved = kconfig.parse_config(
        'CONFIG_B=y\nCONFIG_D="y"\nCONFIG_E=0x1f\nCONFIG_F=m\n# CONFIG_C is not set\n'
    )
    assert kconfig.compare(requests, resolved) == [
        Dropped("f", 2, "CONFIG_B", "m", "y"),
        Dropped("f", 3, "CONFIG_C", "y", "n"),
        Dropped("f", 4, "CONFIG_D", '"x"', '"y"'),
        Dropped("f", 6, "CONFIG_F", "n", "m"),
        Dropped("f", 7, "CONFIG_G", "y", "n"),
    ]


@given(st.dictionaries(SYMBOLS, VALUES, max_size=8))
def test_what_is_rendered_reads_back_and_survives(values: dict[str, str]) -> None:
    requests = [Request("f", line, symbol, value) for line, (symbol, value) in enumerate(values.items(), 1)]
    text = kconfig.render_requests(requests)
    assert kconfig.parse_fragment("f", text) == requests
    assert kconfig.parse_config(text) == values
    assert kconfig.compare(requests, kconfig.parse_config(text)) == []


def test_a_misspelt_name_is_found_even_where_it_asks_for_nothing() -> None:
    requests = kconfig.parse_fragment("f", "# CONFIG_VFIO_NOIOMU is not set\n# CONFIG_HIDDEN is not set\n")
    doubts = kconfig.doubtful(requests, {})
    explanations = kconfig.parse_explanations(
        "unknown\tVFIO_NOIOMU\tVFIO_NOIOMMU\nunmet\tHIDDEN\tPCMCIA\tn\ndefault\tHIDDEN\tn\n"
    )
    assert [doubt.symbol for doubt in doubts] == ["CONFIG_VFIO_NOIOMU", "CONFIG_HIDDEN"]
    failed = kconfig.failures(doubts, explanations)
    assert [failure.symbol for failure in failed] == ["CONFIG_VFIO_NOIOMU"]
    assert "nearest name is CONFIG_VFIO_NOIOMMU" in str(kconfig.dropped_error(failed, explanations))


def test_the_report_lists_every_request() -> None:
    requests = kconfig.parse_fragment("kconfig/vfio.config", "CONFIG_VFIO=m\nCONFIG_VFIO_PCI_VGA=y\n")
    resolved = {"CONFIG_VFIO": "m"}
    assert kconfig.render_option_report(requests, resolved) == (
        "option               wanted  got  requested in\n"
        "CONFIG_VFIO          m       m    kconfig/vfio.config:1\n"
        "CONFIG_VFIO_PCI_VGA  y       n    kconfig/vfio.config:2\n"
    )
    rows = json.loads(kconfig.render_option_json(requests, resolved))
    assert [(row["symbol"], row["line"], row["got"], row["kept"]) for row in rows] == [
        ("CONFIG_VFIO", 1, "m", True),
        ("CONFIG_VFIO_PCI_VGA", 2, "n", False),
    ]


def test_drift_shows_both_sides() -> None:
    golden = "# Linux 6.12.1\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n"
    resolved = "# Linux 6.12.2\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_D is not set\n"
    assert kconfig.drift(golden, golden) == ""
    assert kconfig.drift(resolved, golden) == (
        "-CONFIG_B=m\n+CONFIG_B=y\n-# CONFIG_C is not set\n+# CONFIG_D is not set\n"
    )


def test_the_error_says_file_line_wanted_got_and_the_unmet_dependency() -> None:
    drop = Dropped("kconfig/vfio.config", 21, "CONFIG_VFIO_DEBUGFS", "y", "n")
    explanations = kconfig.parse_explanations(
        "unmet\tVFIO_DEBUGFS\tDEBUG_FS && X\tn\nleaf\tVFIO_DEBUGFS\tDEBUG_FS\tn\n"
    )
    assert explanations["CONFIG_VFIO_DEBUGFS"] == Explanation(
        "CONFIG_VFIO_DEBUGFS", ("unmet dependency: DEBUG_FS && X (= n)", "    CONFIG_DEBUG_FS is n")
    )
    assert kconfig.dropped_error([drop], explanations).message == (
        "kconfig/vfio.config:21: CONFIG_VFIO_DEBUGFS: wanted y, got n\n"
        "    unmet dependency: DEBUG_FS && X (= n)\n"
        "        CONFIG_DEBUG_FS is n"
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("unmet\tA\tSOUND\tn", "unmet dependency: CONFIG_SOUND is n"),
        ("noprompt\tA\tB, C", "it cannot be set by hand: other options select it (B, C)"),
        (
            "choice\tA\tTimer frequency\tHZ_1000",
            'one of the choice "Timer frequency", where CONFIG_HZ_1000 was taken',
        ),
        ("selected\tA\tB\tm", "CONFIG_B is m and selects it"),
        ("range\tA\t12\t25", "it must be from 12 to 25"),
        ("bool\tA", "never a module"),
        ("default\tA\ty", "it follows its default y"),
    ],
)
def test_every_kind_of_record_is_told_in_words(record: str, reason: str) -> None:
    (said,) = kconfig.parse_explanations(record + "\n")["CONFIG_A"].reasons
    assert reason in said


def test_the_plan_quotes_no_value_that_a_shell_or_kconfig_would_expand() -> None:
    drop = Dropped("host.toml", 1, "CONFIG_CMDLINE", '"$(rm x), `y`"', '""')
    text = kconfig.plan_explain([drop], "/sources/kconfig_explain.c", "/build/out")
    assert " Kconfig CMDLINE=text > /build/out" in text
    assert "rm x" not in text


def test_the_resolver_puts_the_requests_after_the_base() -> None:
    lines = kconfig.plan_resolve("x86_64_defconfig", "/build/requests.config").splitlines()
    assert [line.split()[-1] for line in lines] == ["x86_64_defconfig", "/build/obj/.config", "olddefconfig"]


def test_the_fragments_of_this_tree_agree() -> None:
    names = {fragment.stem for fragment in FRAGMENTS}
    assert names == {"base", "iommu", "vfio", "kvm", "uefi", "storage", "net", "console", "hardening"}
    requests = kconfig.merge(kconfig.parse_fragment(f"kconfig/{f.name}", f.read_text()) for f in FRAGMENTS)
    assert {"CONFIG_VFIO_PCI": "m", "CONFIG_VFIO_NOIOMMU": "n", "CONFIG_PCI_ACS_OVERRIDE": "y"}.items() <= {
        request.symbol: request.wanted for request in requests
    }.items()


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.stem)
def test_every_group_of_options_has_its_reason(fragment: Path) -> None:
    for number, group in enumerate(fragment.read_text().split("\n\n")):
        first = group.strip().splitlines()[0]
        assert first.startswith("# "), f"group {number} of {fragment.name} starts without a reason: {first}"
        assert not first.endswith("is not set"), (
            f"group {number} of {fragment.name} starts without a reason: {first}"
        )
