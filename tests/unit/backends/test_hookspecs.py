"""Every hook is documented, and there are no more than somebody uses."""

import inspect

import pluggy

from xfusion_bluesky.backends import hookspecs


def test_the_hooks_are_one_and_documented():
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    hooks = [name for name in vars(manager.hook) if name.startswith("xfusion_")]
    assert hooks == ["xfusion_backends"]
    assert inspect.getdoc(getattr(hookspecs, hooks[0]))
