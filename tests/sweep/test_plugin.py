import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from segprune.sweep.plugin import register


class Foreign(Plugin):
    pass


def test_a_registered_class_can_be_named_as_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Plugins.instance()
    monkeypatch.setattr(plugins, "is_in_toplevel_plugins_module", plugins.is_in_toplevel_plugins_module)
    monkeypatch.setattr(plugins, "class_name_to_class", dict(plugins.class_name_to_class))
    name = f"{__name__}.Foreign"
    assert not plugins.is_in_toplevel_plugins_module(name)
    register(Foreign)
    assert plugins.is_in_toplevel_plugins_module(name)
    assert not plugins.is_in_toplevel_plugins_module(f"{__name__}.Other")
    assert plugins.class_name_to_class[name] is Foreign
