"""One HTML file that loads nothing, from a template: what the pages of campaigns and of judged agents share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner.report.drawing import Chart, Rows, page_data
from tuner.report.library import jinja2, vl_convert
from tuner.report.palette import DARK, LIGHT, PAGE

__all__ = ["document"]

_TEMPLATES = "template"


def document(
    template: str,
    groups: Sequence[tuple[Mapping[str, Rows], Mapping[str, Chart]]],
    *,
    forms: Mapping[str, Callable[..., str]],
    package: str = "tuner.report",
    **values: Any,
) -> str:
    """Return the page.

    Args:
        template: Its name, in the folder `template` of `package`; it may extend `base.html`.
        groups: Rows by name with the charts over them; a chart stands where an element names its group and itself.
        forms: The template's filters.
        package: Where the template is.
        values: What the template reads.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, _TEMPLATES) for name in dict.fromkeys([package, "tuner.report"])]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(forms)
    folder = Path(__file__).parent / _TEMPLATES
    return environment.get_template(template).render(
        version=version("rltuner"),
        light=LIGHT.css(),
        dark=DARK.css(),
        # Marked safe in the template: ours, but for the data, which are escaped for where they stand.
        style=(folder / "page.css").read_text(),
        script=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;") + (folder / "page.js").read_text(),
        data=page_data(groups, PAGE),
        **values,
    )
