"""What a server's log says: why it did not start, and whether waiting for it makes sense."""

from __future__ import annotations

import re

__all__ = ["is_port_taken", "reason", "verdict"]

_MOST_CHARACTERS = 600

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# `(EngineCore pid=12) ERROR 11-28 03:12:45 [core.py:1136] ` before what was logged.
_PREFIX = re.compile(
    r"^(?:\([^)]*\)\s*)?(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[:\s]\s*)?"
    r"(?:\d\d-\d\d \d\d:\d\d:\d\d )?(?:\[[^\]]*:\d+\] ?)?"
)
_PORT_TAKEN = re.compile(r"\[Errno 98\]|\[Errno 48\]|[Aa]ddress already in use")
_REFUSED_OPTION = re.compile(r"^\S.*?: error: (?P<text>.+)$")
_ERROR = re.compile(r"^(?P<name>(?:\w+\.)*\w*(?:Error|Exception|Interrupt))(?:: (?P<text>.*))?$")
_KILLED = re.compile(r"[Oo]ut of memory|Cannot allocate memory|Killed process|SIGKILL|died unexpectedly")

# Errors that say that there was an error, and errors of those who heard of it.
_SECOND_HAND = re.compile(
    r"Engine core initialization failed|Engine core proc|See root cause|EngineDeadError|died unexpectedly|"
    r"^KeyboardInterrupt|^asyncio\.exceptions\.CancelledError|^SystemExit|WorkerProc initialization failed|"
    r"resource_tracker"
)

# Logged by servers that then neither end nor ever answer.
_HOPELESS = (
    re.compile(r"larger than (?:the )?(?:available|total|free).*memory", re.IGNORECASE),
    re.compile(r"not enough (?:available |free )?memory", re.IGNORECASE),
    re.compile(r"[Nn]o available memory for the cache blocks"),
    re.compile(r"exceed(?:s|ed)? the (?:available|total|free) .*memory", re.IGNORECASE),
    re.compile(r"\bDefaultCPUAllocator: can't allocate memory|Cannot allocate memory"),
)


def reason(text: str) -> str:
    r"""Return the engine's own first error in its log, in one or a few lines; empty where it names none.

    An option that its parser refuses comes before any traceback. Of tracebacks, the first that is no echo of another
    one counts: a server that reports that its worker failed adds nothing to what the worker said.

    Example:
        >>> print(reason("Traceback (most recent call last):\nValueError: block_size 17 is not supported\n"))
        ValueError: block_size 17 is not supported
        >>> reason("usage: api_server.py [-h]\napi_server.py: error: unrecognized arguments: --nosuch\n")
        'unrecognized arguments: --nosuch'
    """
    lines = [_bare(line) for line in _COLOURS.sub("", text).splitlines()]
    if hopeless := verdict(text):
        return hopeless
    echoes: list[str] = []
    for index, line in enumerate(lines):
        if match := _REFUSED_OPTION.match(line):
            return match["text"][:_MOST_CHARACTERS]
        if match := _ERROR.match(line):
            whole = _whole(line, match, lines[index + 1 :])
            if not _SECOND_HAND.search(line):
                return whole[:_MOST_CHARACTERS]
            echoes.append(whole)
    for line in lines:
        if _KILLED.search(line) or _PORT_TAKEN.search(line):
            return line[:_MOST_CHARACTERS]
    return echoes[0][:_MOST_CHARACTERS] if echoes else ""


def verdict(text: str) -> str:
    """Return the line for which it makes no sense to wait any longer; empty while there is hope."""
    for line in _COLOURS.sub("", text).splitlines():
        if any(pattern.search(line) for pattern in _HOPELESS):
            return _bare(line)[:_MOST_CHARACTERS]
    return ""


def is_port_taken(text: str) -> bool:
    """Return whether the server found its port taken: another one may be free."""
    return _PORT_TAKEN.search(text) is not None


def _bare(line: str) -> str:
    return _PREFIX.sub("", line, count=1).rstrip()


def _whole(line: str, match: re.Match[str], after: list[str]) -> str:
    """Return the error with the indented lines that pydantic and others write below it."""
    kept = [line]
    for following in after[:4]:
        if not following.startswith("  ") or following.lstrip().startswith(("File ", "^", "~")):
            break
        kept.append(following.strip())
    return "; ".join(kept) if len(kept) > 1 or match["text"] else line
