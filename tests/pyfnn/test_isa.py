"""Claims about instruction-set levels: those of this CPU are found, others are never chosen, PYFNN_ISA is obeyed."""

import platform
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.requirements import require

from pyfnn import compiled, isa
from pyfnn.errors import BackendUnavailable

ORDER = ("v2", "v3", "v4", "aarch64")
NEEDED = {  # flags of /proc/cpuinfo
    "v2": {"sse4_2", "popcnt"},
    "v3": {"avx2", "fma", "bmi2", "movbe", "f16c"},
    "v4": {"avx2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


@pytest.fixture(autouse=True)
def _unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(isa.VARIABLE, raising=False)


@pytest.fixture
def levels() -> tuple[str, ...]:
    try:
        return isa.levels()
    except BackendUnavailable as error:
        require("isa", False, str(error))
        raise


def test_the_levels_are_those_of_the_cpu_lowest_first(levels: tuple[str, ...]) -> None:
    assert list(levels) == sorted(levels, key=ORDER.index)
    if Path("/proc/cpuinfo").exists() and platform.machine() == "x86_64":
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].split("\n")[0].split())
        built = set(compiled.build_info().LEVELS)
        for level, needed in NEEDED.items():
            assert (level in levels) == (needed <= flags and level in built)
        assert max(level for level, needed in NEEDED.items() if needed <= flags) in built, "of a build for this CPU"


def test_the_build_records_the_flags_of_each_level_that_it_has(levels: tuple[str, ...]) -> None:
    built = compiled.build_info().LEVELS
    assert set(levels) <= set(built)
    for level, flags in built.items():
        assert ("-march=armv8-a" if level == "aarch64" else f"-march=x86-64-{level}") in flags.split()


def test_the_plain_parts_of_a_level_have_its_flags_and_with_avx512_vectors_of_256_bits() -> None:
    built, plain = compiled.build_info().LEVELS, compiled.build_info().PLAIN_LEVELS
    assert plain.keys() == built.keys()
    for level, flags in built.items():
        assert plain[level] == flags + " -mprefer-vector-width=256" * (level == "v4")


def test_the_highest_level_is_chosen_by_default(levels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isa.best() == isa.chosen() == levels[-1]
    monkeypatch.setenv(isa.VARIABLE, "")
    assert isa.chosen() == levels[-1]


def test_every_level_can_be_selected(levels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for level in levels:
        monkeypatch.setenv(isa.VARIABLE, level)
        assert isa.chosen() == level


@pytest.mark.parametrize("level", ["v1", "V3 ", "avx512", "native"])
def test_an_unknown_level_is_rejected_with_the_list_of_levels(
    levels: tuple[str, ...], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(isa.VARIABLE, level)
    with pytest.raises(BackendUnavailable, match=", ".join(levels)) as caught:
        isa.chosen()
    assert f"PYFNN_ISA={level}" in caught.value.reason
    assert caught.value.remedy == "unset PYFNN_ISA"


def pretend(
    monkeypatch: pytest.MonkeyPatch, built: tuple[str, ...], runs: tuple[str, ...], parts: tuple[str, ...] = ()
) -> None:
    info = SimpleNamespace(LEVELS=dict.fromkeys(built, "-O3"), SOURCES=dict.fromkeys(parts))
    monkeypatch.setattr(compiled, "folder", lambda _: Path())
    monkeypatch.setattr(compiled, "build_info", lambda: info)
    monkeypatch.setattr("pyfnn._cpu.levels", lambda: list(runs), raising=False)


@pytest.mark.usefixtures("levels")
def test_a_level_that_this_cpu_lacks_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ("v2", "v3", "v4"), ("v2", "v3"))
    assert isa.levels() == ("v2", "v3")
    assert isa.best() == "v3"
    monkeypatch.setenv(isa.VARIABLE, "v4")
    with pytest.raises(BackendUnavailable, match="PYFNN_ISA=v4: this build and this CPU have v2, v3"):
        isa.chosen()


@pytest.mark.usefixtures("levels")
def test_a_cpu_without_any_compiled_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ("v2",), ())
    with pytest.raises(BackendUnavailable, match=r"runs no level \(none\) that was compiled \(v2\)") as caught:
        isa.levels()
    assert "x86-64-v2 and up" in caught.value.remedy


@pytest.mark.usefixtures("levels")
def test_a_level_that_was_not_compiled_is_refused_with_the_command_that_compiles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, ("v4",), ("v2", "v3", "v4"))
    assert isa.levels() == ("v4",)
    monkeypatch.setenv(isa.VARIABLE, "v3")
    with pytest.raises(BackendUnavailable, match="PYFNN_ISA=v3: this build and this CPU have v4") as caught:
        isa.chosen()
    assert caught.value.remedy == f"unset PYFNN_ISA, or compile every level: {isa.EVERY}"
    assert "PYFNN_LEVELS=all" in isa.EVERY
    pretend(monkeypatch, ("v4",), ("v2", "v3"))
    with pytest.raises(BackendUnavailable, match=r"runs no level \(v2, v3\) that was compiled \(v4\)") as caught:
        isa.levels()
    assert caught.value.remedy == f"compile every level: {isa.EVERY}"


def test_a_build_that_lacks_a_target_is_rejected_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "build_info", lambda: SimpleNamespace(SOURCES={}))
    with pytest.raises(BackendUnavailable, match="_cpu was not built") as caught:
        isa.levels()
    assert caught.value.remedy == compiled.REINSTALL


def test_a_part_has_levels_of_its_own_of_which_those_of_this_cpu_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, ("v3",), ("v2", "v3"), ("_probe_v2", "_probe_v3", "_probe_v4", "_tuned_v3"))
    assert isa.levels_of("_probe") == ("v2", "v3")
    assert isa.levels_of("_tuned") == ("v3",)
    with pytest.raises(BackendUnavailable, match=r"_else was compiled for no level of this CPU \(v2, v3\)"):
        isa.levels_of("_else")


def build(monkeypatch: pytest.MonkeyPatch, level: str, *sources: str) -> None:
    """Stand in for a build with these parts on a CPU that runs v2 and v3."""
    levels = {"v2": "-march=x86-64-v2", "v3": "-march=x86-64-v3", "v4": "-march=x86-64-v4"}
    plain = {name: f"{flag} -plain" for name, flag in levels.items()}
    info = SimpleNamespace(
        LEVEL=level, LEVELS=levels, PLAIN_LEVELS=plain, CXX_FLAGS="-march=native", SOURCES=dict.fromkeys(sources)
    )
    monkeypatch.setattr(compiled, "build_info", lambda: info)
    monkeypatch.setattr(isa, "levels", lambda: ("v2", "v3"))


def test_a_build_for_all_levels_uses_the_parts_of_the_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    build(monkeypatch, "levels", "_cpp_v2", "_cpp_v3", "_cpp_v4", "fnn_cuda")
    assert (isa.variant("_cpp"), isa.flags()) == ("_cpp_v3", "-march=x86-64-v3 -plain")
    monkeypatch.setenv(isa.VARIABLE, "v2")
    assert (isa.variant("_cpp"), isa.flags()) == ("_cpp_v2", "-march=x86-64-v2 -plain")
    assert isa.variant("fnn_cuda") == "fnn_cuda"


def test_a_build_for_one_cpu_has_one_of_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    build(monkeypatch, "native", "_cpp")
    monkeypatch.setenv(isa.VARIABLE, "v2")
    assert (isa.variant("_cpp"), isa.flags()) == ("_cpp", "-march=native")
