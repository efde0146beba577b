"""The few kinds of PV that the simulated devices are built from.

A handler is a coroutine method of the group: it gets the value that a client put and returns the
value that the device accepted, or raises to refuse the put.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from caproto import ChannelType
from caproto.server import get_pv_pair_wrapper, pvproperty

LONG_STRING = 256
"""Elements of a CHAR waveform, the closing zero included."""

Handler = Callable[[Any, Any], Awaitable[Any]]

_setpoint_and_rbv = get_pv_pair_wrapper(setpoint_suffix="", readback_suffix="_RBV")


def _type_arguments(choices: Sequence[str] | None) -> dict[str, Any]:
    if choices is None:
        return {}
    return {"dtype": ChannelType.ENUM, "enum_strings": list(choices)}


def pair(
    name: str,
    value: Any,
    *,
    choices: Sequence[str] | None = None,
    on_put: Handler | None = None,
    readback_choices: Sequence[str] | None = None,
    precision: int = 0,
) -> Any:
    """Make a setpoint and its ``_RBV``; the readback shows what the handler accepted.

    Parameters
    ----------
    name : str
        PV name of the setpoint, without the group's prefix.
    value : int, float or str
        Value at start.
    choices, readback_choices : sequence of str, optional
        Names of an enumeration; the readback has the same ones by default. The handler speaks
        the names of the setpoint.
    on_put : coroutine function (group, value) -> accepted value, optional
        Default: every value is accepted.
    precision : int
        Digits shown of a float.
    """
    names = dict(zip(choices or (), readback_choices or choices or (), strict=True))

    async def put(pv_pair: Any, instance: Any, value: Any) -> Any:
        accepted = value if on_put is None else await on_put(pv_pair.parent, value)
        await pv_pair.readback.write(names.get(accepted, accepted))
        # A switch that was refused falls back; a number stays as the client put it.
        return accepted if names else None

    arguments = {"name": name, "value": value, "put": put, **_type_arguments(choices)}
    if precision:
        arguments["precision"] = precision
    if readback_choices is not None:
        arguments["readback_kw"] = {"enum_strings": list(names.values()), "value": names[value]}
    return _setpoint_and_rbv(**arguments)


def long_text_pair(name: str, value: str = "", on_put: Handler | None = None) -> Any:
    """Make a pair of CHAR waveforms, for texts that may exceed 40 characters."""

    async def put(pv_pair: Any, instance: Any, value: Any) -> None:
        accepted = value if on_put is None else await on_put(pv_pair.parent, value)
        await pv_pair.readback.write(accepted)

    return _setpoint_and_rbv(
        name=name, value=value, dtype=ChannelType.CHAR, max_length=LONG_STRING, put=put
    )


def setting(
    name: str,
    value: Any,
    *,
    choices: Sequence[str] | None = None,
    on_put: Handler | None = None,
    **more: Any,
) -> Any:
    """Make a PV without readback; a handler may replace the value by what it returns."""

    async def put(group: Any, instance: Any, value: Any) -> Any:
        return value if on_put is None else await on_put(group, value)

    arguments = _type_arguments(choices)
    if isinstance(value, str) and choices is None:
        arguments = {"dtype": ChannelType.STRING}
    return pvproperty(name=name, value=value, put=put, **arguments, **more)


def reading(name: str, value: Any, *, choices: Sequence[str] | None = None, **more: Any) -> Any:
    """Make a PV that only the device writes."""
    arguments = _type_arguments(choices)
    if isinstance(value, str) and choices is None:
        arguments = {"dtype": ChannelType.STRING}
    return pvproperty(name=name, value=value, read_only=True, **arguments, **more)


def long_text_reading(name: str) -> Any:
    """Make a CHAR waveform that only the device writes."""
    return pvproperty(
        name=name, value="", dtype=ChannelType.CHAR, max_length=LONG_STRING, read_only=True
    )


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run slow work (pixels, files) beside the event loop, so that Channel Access answers."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
