"""What a fit has done so far, so that one that was killed goes on from there.

A fit does the same each time. So it goes on by being done again, but for the pieces that took long:
what these left is in the journal, run by run, as is how far the one under way had come.
"""

from contextvars import ContextVar
from threading import RLock
from time import monotonic

from sktf._objective.factorization import like

# Seconds between two writes, and so many times as long as the last one took: under 2 % of the time.
SECONDS, TIMES = 5.0, 50
# Of these, the share after which a descent notes where it is.
_NOTED = 0.25


class NoPage:
    """The page of a run of which nothing is kept."""

    def piece(self, run, progress, work):
        """Return what ``work()`` returns."""
        return work()

    def keeper(self, run, held):
        """Return what is called with a walk before each look at it."""
        return lambda walk: None

    def inner(self):
        """Return the page of a run that is a part of a piece."""
        return self


class Page(NoPage):
    """What is kept of a run: its state after each piece, its record, and the piece under way.

    Parameters
    ----------
    journal : Journal
        What the page belongs to.
    content : dict
        What is on the page: a state and a result for each piece that is ``done``, the state of the
        ``recorder`` after the last, and of the piece that follows where the ``walk`` is, or the
        page of an ``inner`` run.
    """

    def __init__(self, journal, content):
        self._journal, self._content = journal, content
        self._passed, self._noted = 0, monotonic()

    def piece(self, run, progress, work):
        """Return what ``work()`` returns and leave the run as it does, by reading or by doing it.

        A piece that somebody has stopped is not kept, nor is what follows.
        """
        done, self._passed = self._content["done"], self._passed + 1
        if self._passed <= len(done):
            run.state, result = done[self._passed - 1]
            if self._passed == len(done):
                run.recorder.state = self._content["recorder"]
            return result
        result = work()
        if progress.stopped or run.stopped:
            self._journal.freeze()
        after = [*done, (run.state, result)]
        self._put(_new_content() | {"done": after, "recorder": run.recorder.state})
        return result

    def keeper(self, run, held):
        found = self._content["walk"]

        def keep(walk):
            nonlocal found
            if found is not None:
                walk.state, run.recorder.state, its = found
                if held is not None:
                    held.state = its if its[0] is None else (like(walk.theta, its[0]), *its[1:])
                found = None
            elif monotonic() - self._noted >= _NOTED * self._journal.pause:
                its = held.state if held is not None else None
                self._put({"walk": (walk.state, run.recorder.state, its)})

        return keep

    def inner(self):
        if self._content["inner"] is None:
            self._content["inner"] = _new_content()
        return Page(self._journal, self._content["inner"])

    def _put(self, what):
        self._journal.put(self._content, what)
        self._noted = monotonic()


class NoJournal:
    """The journal of a fit of which nothing is kept."""

    def new_page(self):
        """Return the page of the next run."""
        return NoPage()

    def freeze(self):
        """Keep nothing of what follows."""

    def close(self):
        """Write what has not been written."""


class Journal(NoJournal):
    """The pages of all runs of a fit, in the order in which these are made, and when to write.

    Parameters
    ----------
    pages : list of dict
        What is on the pages.
    write : callable
        Called, in any thread but never in two at once, when it is time to write the pages.
    """

    def __init__(self, pages, write):
        self._pages, self._write, self._lock = pages, write, RLock()
        self._n_given, self._frozen, self._is_new = 0, False, False
        self.pause, self._written = SECONDS, monotonic()

    def new_page(self):
        self._n_given += 1
        if self._n_given > len(self._pages):
            self._pages.append(_new_content())
        return Page(self, self._pages[self._n_given - 1])

    def freeze(self):
        self._frozen = True

    def put(self, content, what):
        """Put something on a page, and write all of them if it is time to."""
        with self._lock:
            if not self._frozen:
                content.update(what)
                self._is_new = True
                if monotonic() - self._written >= self.pause:
                    self.write()

    def write(self):
        """Write the pages."""
        with self._lock:
            began = monotonic()
            self._write()
            self._written = monotonic()
            self.pause = max(SECONDS, TIMES * (self._written - began))
            self._is_new = False

    def close(self):
        if self._is_new:
            self.write()

    @property
    def is_empty(self):
        """Whether nothing is on any page."""
        return all(page == _new_content() for page in self._pages)


JOURNAL: ContextVar[NoJournal] = ContextVar("journal")


def current_journal():
    """Return the journal of the fit that is going on."""
    return JOURNAL.get(NoJournal())


def _new_content():
    return {"done": [], "recorder": None, "walk": None, "inner": None}
