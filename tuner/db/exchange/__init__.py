"""Files of other programs: one module a format, which knows how they write what we call winners, spaces and results.

A format turns files into findings and winners into files; it keeps nothing and asks nobody. `keeping.py` alone writes
to a store: what is imported becomes candidates, with evidence that says who told it. No file is run, and none is
written in part.
"""

from tuner.db.exchange.finding import Content, Finding, Format, Origin, Reading, Request, Search, Selection, Writing
from tuner.db.exchange.registry import FORMATS, format_named

__all__ = [
    "FORMATS",
    "Content",
    "Finding",
    "Format",
    "Origin",
    "Reading",
    "Request",
    "Search",
    "Selection",
    "Writing",
    "format_named",
]
