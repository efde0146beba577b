"""The DG645: when each of its channels goes off after T0."""

from dataclasses import dataclass, field

CHANNELS = ("A", "B", "C", "D", "E", "F", "G", "H")
S_TO_NS = 1e9


@dataclass
class DelayGenerator:
    """Delays of the eight channels, each against T0 or another channel."""

    delay_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0.0))
    reference: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CHANNELS, "T0"))

    def refer(self, channel: str, reference: str) -> None:
        """Count the delay of `channel` from `reference` ("T0" or a channel).

        Raises
        ------
        ValueError
            When the channel would depend on itself; nothing is changed.
        """
        step = reference
        while step != "T0":
            if step == channel:
                raise ValueError(
                    f"DG645: channel {channel} cannot refer to {reference}, which depends on "
                    f"{channel}. The old reference stays; choose T0 or another channel."
                )
            step = self.reference[step]
        self.reference[channel] = reference

    def time_ns(self, channel: str) -> float:
        """When a channel goes off, ns after T0."""
        time_s = 0.0
        while channel != "T0":
            time_s += self.delay_s[channel]
            channel = self.reference[channel]
        return time_s * S_TO_NS
