"""What the doctor says of backends: those that need weights are tried with the weights they get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reference_networks import save
from xfusion_edvr.network import EDVR, EDVRSize

from xfusion_bluesky.nn.encoder import AlignmentSize

LOOK = """
import json, sys, threading
from pathlib import Path
from xfusion_bluesky.configuration import Configuration
from xfusion_bluesky.doctor.plugins import look

findings = look(Configuration.load(Path(sys.argv[1])), threading.Event())
lines = [(each.subject, str(each.state), each.found, each.action) for each in findings]
print(json.dumps([lines, "torch" in sys.modules]))
"""


def test_backends_are_tried_with_their_weights_in_another_process(tmp_path: Path) -> None:
    size = EDVRSize(features=4, alignment=AlignmentSize(1, 1), reconstruct_blocks=1)
    weights = save(EDVR(size), tmp_path / "net_g_latest.pth")
    (tmp_path / "xfusion.toml").write_text(f"""
[plugins]
allow = ["xfusion-edvr"]
[reconstruction]
backends = ["edvr-stf", "edvr"]
[reconstruction.parameters]
edvr-stf.weights = "{weights}"
edvr.weights = "{tmp_path}/gone.pth"
""")

    made = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path / "xfusion.toml")],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )

    lines, imports_torch = json.loads(made.stdout)
    findings = {subject: rest for subject, *rest in lines}
    assert findings.pop("backends")[:2] == ["ok", "available: edvr-stf"]
    state, found, action = findings.pop("edvr")
    assert state == "FAIL"
    assert f"there is no file {tmp_path}/gone.pth" in found
    assert "copy the checkpoint there, or correct weights in [reconstruction.parameters" in action
    assert all(state == "ok" for state, *_ in findings.values())
    assert not imports_torch
