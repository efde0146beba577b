"""What people and plugins may use is documented, and the documentation names only what exists."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pluggy
import pytest
import typer.main

from xfusion_bluesky.backends import hookspecs
from xfusion_bluesky.backends.checks import CHECKS
from xfusion_bluesky.cli import app
from xfusion_bluesky.configuration import Configuration

ROOT = Path(__file__).parents[2]
BACKENDS = (ROOT / "docs/reference/backends.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRACT = ("contract", "hookspecs", "conformance", "registry", "runner")


def _public() -> Iterator[tuple[str, str]]:
    for module in CONTRACT:
        for name in importlib.import_module(f"xfusion_bluesky.backends.{module}").__all__:
            yield module, name


def _commands() -> Iterator[str]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[str]:
        children = getattr(command, "commands", None)
        if children is None:
            yield " ".join(path)
            return
        for name, child in children.items():
            yield from walk(child, (*path, name))

    yield from walk(typer.main.get_command(app), ())


@pytest.mark.parametrize(("module", "name"), list(_public()))
def test_every_name_of_the_contract_has_a_docstring_and_a_place_in_the_reference(
    module: str, name: str
) -> None:
    thing = getattr(importlib.import_module(f"xfusion_bluesky.backends.{module}"), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)
        for member, function in vars(thing).items() if inspect.isclass(thing) else ():
            if inspect.isfunction(function) and not member.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{member}"
    assert f"`{name}`" in BACKENDS


def test_every_hook_has_a_docstring_and_a_place_in_the_reference() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    hooks = [name for name in vars(manager.hook) if name.startswith("xfusion_")]
    assert hooks
    for name in hooks:
        assert inspect.getdoc(getattr(hookspecs, name))
        assert f"`{name}`" in BACKENDS


def test_the_reference_lists_every_check_in_order() -> None:
    section = BACKENDS.partition("## What is checked")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    assert rows[1:] == [check.name for check in CHECKS]


@pytest.mark.parametrize("command", list(_commands()))
def test_every_command_is_documented(command: str) -> None:
    mention = re.compile(rf"(xfusion-bluesky |make |`){re.escape(command)}\b")
    assert any(mention.search(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_configuration_on_a_page_is_valid(page: Path) -> None:
    import tomllib

    sections = Configuration.model_fields
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        table = tomllib.loads(block)
        if set(table) <= set(sections):
            Configuration.model_validate(table)
