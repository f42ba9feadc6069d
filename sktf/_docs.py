"""Docstrings that take entries and sections from others, so that each is written once."""

import re
from collections.abc import Callable
from inspect import cleandoc, isfunction
from textwrap import indent
from typing import TypeVar

_Item = TypeVar("_Item", bound=Callable)
_PLACE = re.compile(r"( *)\{(\w[\w ]*?)(?: \.\.\. (\w+))?\}")


def documented(*sources, **texts) -> Callable[[_Item], _Item]:
    """Return a decorator that fills ``{name}`` in docstrings.

    In that of a function, or of a class and its public methods, of which one without a docstring
    first gets that of the method that it overrides. A name is one of ``texts``, or an entry or
    section in the docstring of a source, a base class or a method of these; ``{first ... last}``
    stands for entries in a row.
    """

    def fill(item):
        classes = [*sources, *getattr(item, "__mro__", ())[1:]]
        members = [member for cls in classes for member in (cls, *vars(cls).values())]
        pieces = [texts, *map(_pieces, members)]
        item.__doc__ = _filled(item.__doc__, pieces)
        for name, value in vars(item).items():
            method = getattr(value, "__func__", value)  # of a classmethod
            if isfunction(method) and name[0] != "_":
                overridden = getattr(super(item, item), name, method)
                method.__doc__ = _filled(method.__doc__ or overridden.__doc__, pieces)
        return item

    return fill


def _pieces(member):
    """Return the sections of a docstring, and their entries, by name."""
    found = {}
    _, *parts = re.split(r"(?m)^(\w[\w ]*)\n-+\n", cleandoc(getattr(member, "__doc__", None) or ""))
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        found[heading] = body.rstrip()
        for entry in re.findall(r"(?m)^\w.* : .*(?:\n(?: .*)?)*$", body):
            found[entry.split(" : ")[0]] = entry.rstrip()
    return found


def _filled(doc, pieces):
    def fill(match):
        space, first, last = match.groups()
        last = last or first
        known = next((piece for piece in pieces if {first, last} <= piece.keys()), None)
        if known is None:
            return match[0]
        names = list(known)
        stop = names.index(last) + 1
        text = "\n".join(known[name] for name in names[names.index(first) : stop])
        return _PLACE.sub(fill, indent(text, space))

    return _PLACE.sub(fill, doc or "")
