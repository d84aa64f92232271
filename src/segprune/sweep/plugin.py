"""Own launchers and sweepers for Hydra, which takes them only from a package ``hydra_plugins`` otherwise."""

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin


def register(kind: type[Plugin]) -> None:
    """Make a class known to Hydra, so that a configuration may name it as ``_target_``."""
    plugins, mine = Plugins.instance(), f"{kind.__module__}.{kind.__qualname__}"
    plugins.register(kind)
    is_plugin = plugins.is_in_toplevel_plugins_module
    plugins.is_in_toplevel_plugins_module = lambda clazz: clazz == mine or is_plugin(clazz)  # type: ignore[method-assign]
