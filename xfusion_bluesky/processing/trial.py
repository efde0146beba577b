"""Whether a backend can be made from parameters, tried in a process that may die of the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfusion_bluesky.backends.registry import Registry, UnknownBackendError
from xfusion_bluesky.configuration import Plugins

__all__ = ["why_unusable"]

_LIMIT_S = 60.0


def why_unusable(
    plugins: Plugins,
    backend_id: str,
    parameters: Mapping[str, Any],
    *,
    limit_s: float = _LIMIT_S,
) -> str:
    """Return why a backend cannot be made, in one line; "" when it can, or when nobody knows.

    Parameters
    ----------
    plugins : Plugins
        Which may be loaded.
    backend_id : str
        Which one.
    parameters : mapping
        JSON values.
    limit_s : float
        Longest time to try; longer, nobody knows.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        request = [str(answer), plugins.model_dump_json(), backend_id, json.dumps(dict(parameters))]
        try:
            subprocess.run(
                [sys.executable, "-m", __name__, *request],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=limit_s,
                check=False,
                start_new_session=True,
            )
            return answer.read_text(encoding="utf-8")
        except (subprocess.TimeoutExpired, FileNotFoundError):
            # Some plugin has killed or blocked the process: the service finds out which.
            return ""


def main() -> None:
    """Try it, and write why it does not work."""
    answer, plugins_json, backend_id, parameters = sys.argv[1:]
    plugins = Plugins.model_validate_json(plugins_json)
    why = ""
    registry = Registry.discover(plugins.allow, plugins.block)
    try:
        registry.create(backend_id, json.loads(parameters))
    except UnknownBackendError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - a backend may refuse its parameters in any way
        why = f"{backend_id} cannot be made: {error}"
    Path(answer).write_text(" ".join(why.split()), encoding="utf-8")


if __name__ == "__main__":
    main()
