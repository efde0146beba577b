"""Discovery: good plugins register; each broken one is set aside alone, with reason and fix."""

import sys
import types
from dataclasses import dataclass
from importlib import metadata
from typing import ClassVar

import pytest

from xfusion_bluesky.backends import hookspecs
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo
from xfusion_bluesky.backends.hookspecs import hookimpl
from xfusion_bluesky.backends.registry import Registry, UnknownBackendError


def info(name, **options):
    return BackendInfo(id=name, version="1", summary="a test", needs_hr=False, **options)


@dataclass(frozen=True)
class Silent:
    strength: float = 1.0

    info: ClassVar[BackendInfo] = info("silent")

    def reconstruct(self, sequence, targets):
        return iter(())


def plugin(*factories, **attributes):
    module = types.ModuleType("a_plugin")

    @hookimpl
    def xfusion_backends():
        return list(factories)

    module.xfusion_backends = xfusion_backends
    vars(module).update(attributes)
    return module


def good(*names, **options):
    return plugin(*(BackendFactory(info(name, **options), Silent) for name in names))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install distributions of one module each: install(distribution, entry point, source)."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def install(distribution, name, source):
        module = f"xfusion_test_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        (folder / "entry_points.txt").write_text(f"[xfusion_bluesky]\n{name} = {module}\n")
        return [
            entry_point
            for found in metadata.distributions(path=[str(tmp_path)])
            for entry_point in found.entry_points
        ]

    yield install
    for module in set(sys.modules) - before:
        if module.startswith("xfusion_test_"):
            del sys.modules[module]


GOOD = """
from xfusion_bluesky.backends.contract import BackendFactory, BackendInfo
from xfusion_bluesky.backends.hookspecs import hookimpl
@hookimpl
def xfusion_backends():
    return [BackendFactory(BackendInfo("good", "1", "works", needs_hr=False), dict)]
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("this is no python", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("XFUSION_API_VERSION = 99", "API 99"),
        ("", "offers no backend"),
        ("raise SystemExit('two\\nlines')", "SystemExit: two lines"),
        (
            "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute",
            "Mute: it cannot say more",
        ),
        ("def __getattr__(name): raise OSError('driver ' + name)", "OSError: driver"),
    ],
)
def test_a_broken_plugin_costs_only_itself(install, source, reason):
    install("aaa-broken", "broken", source)
    registry = Registry.from_entry_points(install("zzz-good", "good", GOOD))
    assert list(registry.factories) == ["good"]
    registered = registry.factories["good"]
    assert (registered.plugin, registered.distribution, registered.version) == (
        "good",
        "zzz-good",
        "1.2",
    )
    (aside,) = registry.quarantined
    assert (aside.plugin, aside.distribution, aside.version) == ("broken", "aaa-broken", "1.2")
    assert reason in aside.reason
    assert "aaa-broken" in aside.fix


def test_two_distributions_that_offer_one_id_leave_the_first(install):
    install("aaa-good", "first", GOOD)
    registry = Registry.from_entry_points(install("zzz-good", "second", GOOD))
    assert registry.factories["good"].distribution == "aaa-good"
    (aside,) = registry.quarantined
    assert (aside.plugin, aside.distribution) == ("second", "zzz-good")
    assert "'good' exists already in plugin 'first'" in aside.reason
    assert "block one of" in aside.fix


def test_a_half_removed_installation_does_not_hide_the_others(install, tmp_path):
    # Once imported, as Tiled does, it answers in place of importlib.metadata, with its own errors.
    pytest.importorskip("importlib_metadata")
    install("aaa-broken", "broken", "raise SystemExit(3)")
    (tmp_path / "aaa_broken-1.2.dist-info" / "METADATA").unlink()
    registry = Registry.from_entry_points(install("zzz-good", "good", GOOD))
    assert list(registry.factories) == ["good"]
    assert [aside.plugin for aside in registry.quarantined] == ["broken"]


def test_a_keyboard_interrupt_is_for_the_user(install):
    with pytest.raises(KeyboardInterrupt):
        Registry.from_entry_points(install("aaa", "stop", "raise KeyboardInterrupt"))


@pytest.mark.parametrize("entry", ["good", "zzz-good", "Zzz_Good"])
def test_lists_name_plugins_or_distributions_and_nothing_barred_is_imported(install, entry):
    install("aaa-broken", "broken", "raise SystemExit")
    entry_points = install("zzz-good", "good", GOOD)
    allowed = Registry.from_entry_points(entry_points, allow=[entry])
    assert list(allowed.factories) == ["good"]
    assert allowed.quarantined == []
    assert [aside.plugin for aside in allowed.blocked] == ["broken"]
    assert "xfusion_test_broken" not in sys.modules
    blocked = Registry.from_entry_points(entry_points, allow=[entry], block=[entry])
    assert blocked.factories == {}
    assert len(blocked.blocked) == 2


def raises(error):
    @hookimpl
    def xfusion_backends():
        raise error

    module = types.ModuleType("raises")
    module.xfusion_backends = xfusion_backends
    return module


@hookimpl
def xfusion_unheard_of():
    """A hook of some future version."""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (raises(RuntimeError("no GPU")), "no GPU"),
        (raises(SystemExit()), "SystemExit"),
        (plugin("a string"), "BackendFactory"),
        (plugin(BackendFactory("no info", Silent)), "BackendFactory"),
        (good("Not An Id"), "Not An Id"),
        (good("twice", "twice"), "two backends"),
        (good("new", "first"), "exists already in plugin 'one'"),
        (plugin(XFUSION_API_VERSION=0), "API 0"),
        (plugin(BackendFactory(info("x"), Silent), other=xfusion_unheard_of), "unknown hook"),
    ],
)
def test_a_plugin_that_breaks_the_contract_registers_nothing(broken, reason):
    registry = Registry.from_plugins({"one": good("first"), "two": broken, "three": good("last")})
    assert list(registry.factories) == ["first", "last"]
    (aside,) = registry.quarantined
    assert aside.plugin == "two"
    assert reason in aside.reason
    assert "two" in aside.fix


def test_a_matching_api_version_is_accepted():
    stated = plugin(BackendFactory(info("x"), Silent), XFUSION_API_VERSION=hookspecs.API_VERSION)
    assert Registry.from_plugins({"stated": stated}).available() == ["x"]


def test_available_leaves_out_what_cannot_run_by_itself():
    registry = Registry.from_plugins(
        {
            "a": good("net", unavailable="needs --weights"),
            "b": good("silent", "other"),
        }
    )
    assert registry.available() == ["other", "silent"]
    assert "net" in registry.factories
    assert registry.create("net").strength == 1.0


def test_create_passes_parameters_and_explains_wrong_ones():
    registry = Registry.from_plugins({"a": good("silent")})
    assert registry.create("silent", {"strength": 2.5}) == Silent(2.5)
    with pytest.raises(ValueError, match=r"silent.*weight.*accepts: strength"):
        registry.create("silent", {"weight": 1})


def test_an_unknown_id_is_answered_with_what_may_have_been_meant():
    registry = Registry.from_plugins({"a": good("silent"), "b": raises(RuntimeError("no GPU"))})
    with pytest.raises(UnknownBackendError) as caught:
        registry.create("silnet")
    for words in ("'silnet'", "did you mean 'silent'", "b (RuntimeError: no GPU)"):
        assert words in str(caught.value)


def test_installed_plugins_are_found():
    assert isinstance(Registry.discover(allow=()), Registry)
    assert Registry.discover(allow=()).factories == {}
