"""Who is told how a fit goes: nobody, or a user who reads lines and has callbacks."""

from collections import deque
from functools import partial
from threading import Lock, get_ident
from time import perf_counter

# Parts of a fit that callbacks are told of one by one; each costs about 20 us and 350 bytes.
N_TICKS = 100
_ENDS = {
    "converged": "Converged",
    "held_out": "Stopped on held-out cells",
    "max_iter": "Stopped at max_iter",
    "callback": "Stopped by a callback",
    "interrupted": "Interrupted",
}


class Progress:
    """Tells nobody how a fit goes; holds whether somebody has stopped it.

    ``stopped`` is None, or the status with which all descents end: "callback", "interrupted".
    """

    def __init__(self):
        self.stopped = None

    def stop(self, status):
        """End all descents with this status, unless they have been told another one."""
        self.stopped = self.stopped or status

    def begin(self, stage, runs, **facts):
        """Take note that a stage begins, and for which runs."""

    def observe(self, run, iteration, loss, theta, is_record):
        """Take note of where a run is, ``iteration`` steps into a descent."""

    def descended(self, run, max_iter, is_record):
        """Take note that a descent has ended, which had so many steps at most."""

    def grown(self, run, n_cells):
        """Take note that components of a run have grown, on so many cells."""

    def ended(self, run):
        """Take note that a run has gone through the stage."""

    def finish(self, run):
        """Take note that the fit ends in this run."""

    def say(self, line):
        """Tell the user a line."""

    def tell(self):
        """Tell the user what is new, in the thread of the user."""


class ToldProgress(Progress):
    """Prints lines and passes the ticks of a budget, always in the thread that made it.

    Runs that descend beside that thread leave what is new in a queue, which it empties while it
    waits for them: scikit-learn's settings and what draws on screens belong to one thread.

    Parameters
    ----------
    budget : dict
        Stage -> number of runs and most iterations of each.
    runs : list of Run
        All starts, in their order.
    title : str
        The first line.
    verbose : int
        1: the story of the fit; 2: besides every record, or growth of components.
    score : callable
        run -> text of its score on held-out cells, or None.
    tick : callable
        ``theta or None -> bool``, called ``N_TICKS`` times; True stops the fit. None: the next
        tick follows at once.
    """

    def __init__(self, budget, runs, title, *, verbose, score, tick):
        super().__init__()
        self._budget, self._verbose, self._score, self._tick = budget, verbose, score, tick
        self._numbers = {run: number for number, run in enumerate(runs, 1)}
        self._many = len(runs) > 1
        self._home, self._began = get_ident(), perf_counter()
        self._lock, self._news = Lock(), deque()
        self._n_passed = self._next_line = 0
        self.say(title)

    def begin(self, stage, runs, **facts):
        sizes = {name: n_runs * most for name, (n_runs, most) in self._budget.items()}
        n_before, total = list(sizes).index(stage), sum(sizes.values()) / N_TICKS
        self._before = sum(list(sizes.values())[:n_before]) / total
        self._weight = sizes[stage] / total / len(runs)
        self._stage, self._most = stage, self._budget[stage][1]
        # Of all runs: iterations of the descents that have ended, and share of the way gone.
        self._spent, self._shares = dict.fromkeys(runs, 0), dict.fromkeys(runs, 0.0)
        if self._verbose:
            self._say_beginning(stage, runs, **facts)
        self.tell()

    def observe(self, run, iteration, loss, theta, is_record):
        with self._lock:
            self._move(run, self._spent[run] + iteration, theta)
            self._say_loss(run, run.recorder.iteration + iteration, loss, is_record)
        if get_ident() == self._home:
            self.tell()

    def descended(self, run, max_iter, is_record):
        with self._lock:
            self._spent[run] += max_iter
            self._move(run, self._spent[run], run.theta)
            if is_record:
                self._say_record(run, run.recorder.iteration, run.loss)

    def grown(self, run, n_cells):
        if self._verbose > 1:
            components = f"{run.theta.n_components} components of {n_cells} cells"
            self.say(f"{self._name(run)}{components}, held-out loss = {run.score:.8f}")

    def ended(self, run):
        with self._lock:
            self._move(run, self._most, run.theta)
        if self._verbose and (self._stage == "mean" or (self._stage == "finalists" and self._many)):
            name = "Mean" if self._stage == "mean" else f"Start {self._numbers[run]}"
            self.say(f"{name}: {self._quality(run)} after {run.recorder.iteration} iterations")

    def finish(self, run):
        self._pass(N_TICKS, run.theta)
        self.tell()
        # A callback that would end what has ended changes nothing; Ctrl-C has to be heard of.
        if self.stopped == "interrupted":
            run.status = self.stopped
        if self._verbose:
            print(
                f"{_ENDS[run.status]} after {run.recorder.iteration} iterations in "
                f"{perf_counter() - self._began:.1f} s, loss = {run.loss:.3g}"
            )

    def say(self, line):
        if self._verbose:
            self._news.append(partial(print, line))

    def tell(self):
        try:
            while self._news and self.stopped is None:
                self._news.popleft()()
        except KeyboardInterrupt:
            self.stop("interrupted")

    def _move(self, run, iterations, theta):
        """Pass the ticks that are due with this run where it is."""
        self._shares[run] = min(1.0, iterations / self._most)
        # Rounding must not put a tick off.
        n_ticks = int(self._before + self._weight * sum(self._shares.values()) + 1e-9)
        self._pass(n_ticks, theta)

    def _pass(self, n_ticks, theta):
        if n_ticks > self._n_passed:
            self._news.append(partial(self._tick_on, n_ticks - self._n_passed, theta))
            self._n_passed = n_ticks

    def _tick_on(self, n_ticks, theta):
        for left in reversed(range(n_ticks)):
            if self._tick(None if left else theta):
                self.stop("callback")
                break

    def _say_loss(self, run, iteration, loss, is_record):
        """Print every record, or of a single start where it is at 0, 1, 2, 4, ... ticks."""
        if self._verbose > 1:
            if is_record:
                self._say_record(run, iteration, loss)
        elif not self._many and self._n_passed >= self._next_line:
            self._next_line = max(1, 2 * self._n_passed)
            self.say(f"Iteration {iteration}, loss = {loss:.3g}{run.label}")

    def _say_record(self, run, iteration, loss):
        if self._verbose > 1:
            self.say(f"{self._name(run)}Iteration {iteration}, loss = {loss:.8f}{run.label}")

    def _name(self, run):
        return f"Start {self._numbers[run]}: " if self._many and run in self._numbers else ""

    def _say_beginning(self, stage, runs, before=None, after=None):
        if stage == "finalists" and "screening" in self._budget:
            best = min(runs, key=lambda run: run.score)
            numbers = ", ".join(str(self._numbers[run]) for run in runs)
            self.say(f"Screening: {self._quality(best)} at best; starts {numbers} go on")
        elif stage == "mean" and after is None:
            self.say("Mean of fits: worse, so the best fit goes on")
        elif stage == "mean":
            n_before, n_after = before[0].shape[1], after[0].shape[1]
            self.say(f"Mean of fits: pruned from {n_before} components to {n_after}")
        elif stage == "refit":
            self.say("Refit on all cells")

    def _quality(self, run):
        if run.status == "diverged":
            return "diverged"
        score = self._score(run)
        return f"loss = {run.loss:.3g}" if score is None else f"held-out {score}"
