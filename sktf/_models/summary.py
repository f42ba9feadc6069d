"""A summary of a fit as a table: plain text, HTML that stands by itself, and plain data."""

from dataclasses import dataclass, field
from html import escape
from math import isfinite
from numbers import Integral, Real
from textwrap import wrap

_WIDTH = 80
# Longer names of modes are cut in text.
_LONG = 22
# Numbers from here on are read by their exponent, and by their digits before it.
_LARGE, _MANY_DIGITS = 1e6, 1000
# No colors: text and lines are those of the page, light or dark.
_STYLE = """<style>
.sktf-summary {font-size: 0.9em; line-height: 1.4; padding: 0.5em; max-width: calc(100vw - 4em);}
.sktf-summary pre {white-space: pre-wrap; margin: 0 0 0.5em;}
.sktf-summary table {border-collapse: collapse; margin: 0 0 0.7em; border-top: 1px solid;
display: block; overflow-x: auto; width: fit-content; max-width: 100%;}
.sktf-summary :is(th, td) {padding: 0.1em 0.7em 0.1em 0; text-align: left; vertical-align: top;
font-weight: normal; background: none; border: none;}
.sktf-summary :is(th, td).number {text-align: right; font-variant-numeric: tabular-nums;}
.sktf-summary thead th {border-bottom: 1px solid; vertical-align: bottom;}
.sktf-summary ul {margin: 0; padding-left: 1.2em;}
</style>"""


@dataclass(frozen=True, repr=False)
class Summary:
    """What a fit has found, as ``summary()`` of an estimator returns it.

    ``print`` it for text; in a notebook it shows as HTML. All values are plain Python.

    Attributes
    ----------
    title : str
        The estimator and the parameters that are not the default.
    rows : list of (str, value)
        Names and values, such as ``dict(summary.rows)["rank"]``. What is not known is left out.
    tables : dict of list of dict
        Tables by name, a dict for each line, such as ``summary.tables["modes"][0]["size"]``.
    warnings : list of str
        What the fit warned of.
    """

    title: str
    rows: list = field(default_factory=list)
    tables: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)

    def __repr__(self):
        parts = [self.title, _text_of_rows(self.rows), *map(_text_of_table, self.tables.values())]
        if self.warnings:
            parts.append("\n".join(["Warnings of the fit", *map(_bullet, self.warnings)]))
        first, *others = filter(None, parts)
        lines = "\n" + "-" * _WIDTH + "\n"
        return "\n".join([first, "=" * _WIDTH, lines.join(others), "=" * _WIDTH])

    def _repr_html_(self):
        return self.to_html(f"<pre>{escape(self.title)}</pre>")

    def to_html(self, heading=""):
        """Return the summary as HTML below a heading that is HTML already.

        Parameters
        ----------
        heading : str, default=""
            What stands above.

        Returns
        -------
        html : str
            A ``div`` with its own style.
        """
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(_shown(name, value))}</td></tr>'
            for name, value in self.rows
        )
        tables = "".join(map(_html_of_table, self.tables.values()))
        warned = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        warned = f"Warnings of the fit<ul>{warned}</ul>" if warned else ""
        body = f"{heading}<table><tbody>{rows}</tbody></table>{tables}{warned}"
        return f'{_STYLE}<div class="sktf-summary">{body}</div>'


def is_known(value):
    """Return whether a value says something: neither None nor NaN nor infinite."""
    return value is not None and not (isinstance(value, Real) and not isfinite(value))


def _shown(name, value):
    """Return a value as text: shares in percent, other fractions to three digits."""
    if not is_known(value):
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    if name.startswith("share"):
        return f"{value:.1%}"
    if isinstance(value, Integral):
        return str(value)
    return f"{value:.0f}" if _MANY_DIGITS <= abs(value) < _LARGE else f"{value:.3g}"


def _text_of_rows(rows):
    width = max((len(name) for name, _ in rows), default=0) + 2
    lines = []
    for name, value in rows:
        first, *others = wrap(_shown(name, value), _WIDTH - width) or [""]
        lines += [f"{name:<{width}}{first}", *(" " * width + line for line in others)]
    return "\n".join(lines)


def _cells_of(table):
    """Return the names of the columns that say something, and the lines as text."""
    names = [name for name in table[0] if any(is_known(line[name]) for line in table)]
    return names, [[_shown(name, line[name]) for name in names] for line in table]


def _numeric(table, names):
    """Return which columns hold numbers below their first line of text, if any."""
    return [not any(isinstance(line[name], str) for line in table) for name in names]


def _text_of_table(table):
    names, lines = _cells_of(table)
    lines = [[_cut(cell) for cell in line] for line in (names, *lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligns = [">" if number else "<" for number in _numeric(table, names)]
    forms = [f"{{:{align}{width}}}" for align, width in zip(aligns, widths, strict=True)]
    return "\n".join("  ".join(forms).format(*line).rstrip() for line in lines)


def _cut(text):
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."


def _html_of_table(table):
    names, lines = _cells_of(table)
    kinds = [' class="number"' if number else "" for number in _numeric(table, names)]

    def row(tag, cells):
        pairs = zip(kinds, cells, strict=True)
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in pairs)

    body = "".join(f"<tr>{row('td', line)}</tr>" for line in lines)
    head = f"<thead><tr>{row('th', names)}</tr></thead>"
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _bullet(text):
    return "\n".join(wrap(text, _WIDTH, initial_indent="- ", subsequent_indent="  "))
