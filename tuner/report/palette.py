"""The colours of a report: one set of names, with values for light, for dark, and for pages that follow the browser.

The statuses' colours are those of Okabe and Ito (*Color universal design*, 2008), darkened or lightened until they
stand out from the paper; each status has a shape of its own as well, for whoever sees no colours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

__all__ = ["DARK", "LIGHT", "PAGE", "Palette"]


@dataclass(frozen=True, slots=True)
class Palette:
    """A colour for each role.

    Attributes:
        paper: Behind everything.
        panel: Behind tables, code and charts.
        ink: Text.
        muted: Text that explains, axes.
        line: Borders and grids.
        gain: What was won: the config, and what is promoted.
        trial: A correct trial.
        warn: What needs care.
        compile: That status; `runtime` to `limit` likewise.
    """

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    gain: str
    trial: str
    warn: str
    compile: str
    runtime: str
    correctness: str
    timeout: str
    constraints: str
    limit: str

    @property
    def series(self) -> tuple[str, ...]:
        """Colours that tell series apart, in the order of their use."""
        return (
            self.trial,
            self.gain,
            self.compile,
            self.correctness,
            self.runtime,
            self.timeout,
            self.limit,
            self.constraints,
        )

    def css(self) -> str:
        """Return the colours as declarations of custom properties."""
        return " ".join(f"--{name}: {value};" for name, value in asdict(self).items())


LIGHT = Palette(
    paper="#ffffff",
    panel="#f5f7f9",
    ink="#18212b",
    muted="#566270",
    line="#d8dee5",
    gain="#00795a",
    trial="#4477aa",
    warn="#9a5b00",
    compile="#b06a00",
    runtime="#c0392b",
    correctness="#a3428f",
    timeout="#0063a0",
    constraints="#5f6b78",
    limit="#7a6a00",
)

DARK = Palette(
    paper="#11161c",
    panel="#1a2129",
    ink="#e6ebf0",
    muted="#9fabb8",
    line="#333e4a",
    gain="#3ccf9f",
    trial="#7fb2e5",
    warn="#f0b35a",
    compile="#f0a63c",
    runtime="#ff7b6b",
    correctness="#e59ad2",
    timeout="#5ab8f5",
    constraints="#a9b4c0",
    limit="#e0d05a",
)

PAGE = Palette(**{field.name: f"var(--{field.name})" for field in fields(Palette)})
"""References to the page's own properties: a browser changes them with its theme, and the charts follow."""
