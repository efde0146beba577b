"""How the card of a backend is printed."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..backends.card import Accuracy, Card, Cost, Identity
from .installation import console

_COLOURS = {"passed": "green", "failed": "bold red", "left out": "yellow"}


def print_card(card: Card) -> None:
    """Print what is known about a backend.

    Parameters
    ----------
    card : Card
        From `backends.examine`.
    """
    if card.identity is not None:
        _print_identity(card.identity)
    if card.verdicts:
        table = Table("check", "result", "why", title="Contract", title_justify="left")
        for verdict in card.verdicts:
            colour = _COLOURS[verdict.outcome]
            why = escape(verdict.why)
            table.add_row(escape(verdict.check), f"[{colour}]{verdict.outcome}[/]", why)
        console.print(table)
    if card.accuracy is not None:
        _print_accuracy(card.backend_id, card.accuracy)
    if card.cost is not None:
        _print_cost(card.cost)
    if card.ending:
        console.print(f"[bold red]{escape(card.ending)}[/]", soft_wrap=True)
    if not card.conforms and card.output:
        console.print("The end of what it printed:", escape(card.output), sep="\n", soft_wrap=True)
    console.print(_conclusion(card), soft_wrap=True)


def _print_identity(identity: Identity) -> None:
    table = Table.grid(padding=(0, 2))
    source = f"{identity.distribution} {identity.distribution_version}, plugin {identity.plugin}"
    for name, value in (
        ("backend", f"{identity.id} {identity.version}"),
        ("what it does", identity.summary),
        ("distribution", source),
        ("needs HR", "yes" if identity.needs_hr else "no"),
        ("claims accuracy", "yes" if identity.claims_accuracy else "no"),
        ("weights", identity.weights or "none"),
        ("state", identity.unavailable or "available"),
    ):
        table.add_row(name, escape(value))
    console.print(table)


def _print_accuracy(backend_id: str, accuracy: Accuracy) -> None:
    table = Table(
        "moving blobs", "PSNR dB", "SSIM", title="Accuracy between HR frames", title_justify="left"
    )
    own = (accuracy.psnr_db, accuracy.ssim)
    for name, (psnr_db, ssim) in {backend_id: own, **accuracy.baselines}.items():
        table.add_row(escape(name), f"{psnr_db:.2f}", f"{ssim:.4f}")
    console.print(table)


def _print_cost(cost: Cost) -> None:
    height, width = cost.shape
    low, high = cost.spread_ms
    console.print(
        f"{cost.median_ms:.2f} ms a frame of {height} x {width} px (half of {cost.frames} frames: "
        f"{low:.2f} to {high:.2f}; the first: {cost.first_ms:.2f}); peak memory "
        f"{cost.peak_mb:.0f} MB with Python",
        soft_wrap=True,
    )


def _conclusion(card: Card) -> str:
    if card.identity is not None and card.identity.unavailable and not card.verdicts:
        why = escape(card.identity.unavailable)
        return f"[bold red]not examined[/]: {why}; give what it needs with --set"
    failed = sum(verdict.outcome == "failed" for verdict in card.verdicts)
    if card.conforms:
        return "[green]It keeps the contract.[/]"
    broken = "[bold red]It does not keep the contract[/]"
    if failed:
        return f"{broken}: {failed} of {len(card.verdicts)} checks failed."
    return f"{broken}: the examination was cut short."
