"""Python, the packages we need, and a graphics processor where there is one."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from ..configuration import Configuration
from .finding import Finding, fail, ok, warn

_DISTRIBUTION = "xfusion-bluesky"
_KNOWN_GOOD = Path(__file__).parents[2] / "constraints.txt"
_TORCH_LIMIT_S = 20.0
_ASK_TORCH = (
    "import json, torch; cuda = torch.cuda.is_available(); print(json.dumps([torch.__version__, "
    "[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []]))"
)


def look(configuration: Configuration, ended: threading.Event) -> Iterator[Finding]:
    """Look at versions, then at the graphics processor.

    Parameters
    ----------
    configuration : Configuration
        Of the installation.
    ended : threading.Event
        Set when nobody listens any more.
    """
    yield ok("Python", f"{platform.python_version()} ({sys.executable})")
    yield packages()
    yield graphics()


def packages() -> Finding:
    """Look whether the packages of this installation have versions that work together."""
    text = _KNOWN_GOOD.read_text() if _KNOWN_GOOD.exists() else ""
    known = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M))
    wrong, other, count = [], [], 0
    for line in metadata.requires(_DISTRIBUTION) or []:
        requirement = Requirement(line)
        try:
            version = Version(metadata.version(requirement.name))
        except metadata.PackageNotFoundError:
            # What belongs to an extra need not be there.
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wrong.append(f"{requirement.name} is missing")
            continue
        count += 1
        good = known.get(requirement.name)
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
        elif good is not None and version.public != good:
            other.append(f"{requirement.name} {version} instead of {good}")
    if wrong:
        return fail("packages", "; ".join(sorted(set(wrong))), f"pip install -U '{_DISTRIBUTION}'")
    if other:
        return warn(
            "packages",
            f"not the versions that this project is tested with: {'; '.join(sorted(set(other)))}",
            f"if something odd happens: pip install -c {_KNOWN_GOOD} of these packages",
        )
    tested = "the versions that this project is tested with" if known else "as required"
    return ok("packages", f"{count} packages, {tested}")


def graphics() -> Finding:
    """Look whether neural backends have a graphics processor; torch is asked in a child."""
    subject = "GPU"
    if importlib.util.find_spec("torch") is None:
        return ok(subject, "torch is not installed; only neural backends need it")
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TORCH_LIMIT_S,
            check=True,
        )
        version, devices = json.loads(answer.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        why = f"torch did not answer within {_TORCH_LIMIT_S:g} s"
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        why = f"torch cannot be imported: {error}"
    else:
        if devices:
            return ok(subject, f"{', '.join(devices)} (torch {version})")
        if not Path("/dev/nvidia0").exists():
            return ok(subject, f"none; neural backends use the processor (torch {version})")
        why = f"this computer has one, but torch {version} cannot use it"
    return warn(
        subject,
        f"{why}: neural backends are slow or unavailable",
        "look at nvidia-smi, and install the torch that fits its driver",
    )
