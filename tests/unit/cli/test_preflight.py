"""The command `preflight` without a beamline."""

from __future__ import annotations

import json

import pytest
from command_line import refused, type_command


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_table_says_what_to_set_and_stop_is_exit_code_1(tmp_path):
    good = type_command(
        "preflight", "--offline", "--hr-first=-1", "--hr-last", "10", "--picture", "burst.png"
    )
    assert good.code == 0, good.out
    assert any(row[:2] == ["ok", "HR on both sides"] for row in good.rows)
    assert (tmp_path / "burst.png").stat().st_size > 10_000

    stop = type_command("preflight", "--offline", "--phantom-period-ns", "4000")
    assert stop.code == 1
    assert "region 1280 x 240" in " ".join(stop.out.split())
    assert stop.err == ""


def test_the_configuration_knows_the_beam_and_options_go_over_it(tmp_path):
    (tmp_path / "xfusion.toml").write_text(
        '[beam]\npulse_period_ns = 886.0\nscintillator = "LYSO"\n'
    )
    common = ("preflight", "--offline", "--json", "--shimadzu-interval-ns", "886")

    def found(*more: str) -> dict[str, str]:
        answer = json.loads(type_command(*common, *more).out)
        return {check["subject"]: check["found"] for check in answer["checks"]}

    known = found()
    assert "512 ns over 128 frames" in known["pulses, Shimadzu"]
    assert "decay 40 ns" in known["afterglow"]
    over = found("--pulse-period-ns", "0", "--scintillator", "55")
    assert "pulses, Shimadzu" not in over
    assert "decay 55 ns" in over["afterglow"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--offline", "--scintillator", "granite"], "LuAG, YAG, LYSO"),
        (["--offline", "--phantom-rows", "0"], "height of the Phantom region"),
        (["--offline", "--hr-first", "9"], "hr_last must not be less"),
        (["--offline", "--pulse-period-ns", "-5"], "no pulse pattern"),
        (["--config", "missing.toml"], "no configuration file"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, arguments, words):
    refused(type_command("preflight", *arguments), words)
    assert not list(tmp_path.iterdir())


def test_without_a_beamline_it_says_so(monkeypatch):
    monkeypatch.delenv("EPICS_CA_ADDR_LIST", raising=False)
    refused(type_command("preflight"), "No simulated beamline runs", "sim start")
