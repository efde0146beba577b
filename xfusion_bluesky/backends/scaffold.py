"""Write a new plugin distribution that works, from the templates beside this file."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

__all__ = ["ScaffoldError", "write_plugin"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class ScaffoldError(ValueError):
    """A plugin of this name, or in this folder, cannot be made; nothing was written."""


def write_plugin(name: str, folder: Path | None, installed: Mapping[str, str]) -> Path:
    """Write a plugin distribution with one simple backend that conforms.

    Parameters
    ----------
    name : str
        Id of its backend: lower case letters, digits and single hyphens, beginning with a letter.
    folder : Path or None
        Where to; it must not exist. None: ``xfusion-NAME`` here.
    installed : mapping of str to str
        Ids of the backends that are installed already, and who offers them.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ScaffoldError
        If the name is not valid or taken, or the folder exists. Nothing is written then.
    """
    if not _NAME.fullmatch(name):
        raise ScaffoldError(
            f"{name!r} is no name for a backend: use lower case letters, digits and single "
            f"hyphens, beginning with a letter, for instance 'my-method'. Nothing was written."
        )
    distribution = f"xfusion-{name}"
    package = distribution.replace("-", "_")
    if name in installed:
        raise ScaffoldError(
            f"A backend {name!r} is installed already, by {installed[name]}; choose another name. "
            f"Nothing was written."
        )
    if importlib.util.find_spec(package) is not None:
        raise ScaffoldError(
            f"A Python package {package!r} is installed already; choose another name than "
            f"{name!r}. Nothing was written."
        )
    target = Path(distribution) if folder is None else folder
    if target.exists():
        raise ScaffoldError(f"{target} exists already; nothing was written.")
    words = {
        "name": name,
        "distribution": distribution,
        "package": package,
        "class_name": "".join(part.capitalize() for part in name.split("-")) + "Backend",
    }
    files = {
        "pyproject.toml": _filled("pyproject.toml.in", words),
        "README.md": _filled("README.md.in", words),
        "LICENSE": _filled("LICENSE.in", words),
        f"{package}/__init__.py": _filled("backend.py.in", words),
        f"{package}/py.typed": "",
        "tests/test_conformance.py": _filled("test_conformance.py.in", words),
    }
    for path, text in files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return target


def _filled(template: str, words: dict[str, str]) -> str:
    source = resources.files("xfusion_bluesky.backends") / "template" / template
    return Template(source.read_text(encoding="utf-8")).substitute(words)
