"""Helpers of several files of tests."""

import numpy as np

from sktf._descent.progress import Progress
from sktf._descent.recording import Recorder
from sktf._descent.run import Problem, Run
from sktf._descent.steps import Constant


class Objective:
    """Functions of theta by the name of a loss; keeps a list of what was evaluated."""

    def __init__(self, functions, loss=None, log=None):
        self.functions, self.name = functions, loss
        self.log = [] if log is None else log

    def with_loss(self, loss):
        return Objective(self.functions, loss, self.log)

    def __call__(self, theta):
        self.log.append((self.name, theta.copy()))
        return self.functions[self.name](theta)

    def loss(self, theta):
        return self.functions[self.name](theta)[0]

    def terms(self, theta):
        return np.array([self.loss(theta)])


def parabola(*center, curvature=1.0):
    """``curvature * |theta - center|^2``; constant steps contract by ``1 - 2 eta curvature``."""
    center = np.array(center)

    def function(theta):
        away = theta - center
        return float(curvature * (away @ away)), 2 * curvature * away

    return function


def wells(theta):
    """``(theta^2 - 1)^2``: minima at -1 and 1, equally deep; 0 is stationary."""
    t = theta[0]
    return (t**2 - 1) ** 2, 4 * t * (t**2 - 1) * np.ones(1)


def nowhere(theta):
    return np.nan, theta


def make_problem(training, held_out=None, losses=("first", "second"), **options):
    defaults = {"step": Constant(0.05), "max_iter": 300, "tol": 1e-10, "patience": 10**6}
    defaults["progress"] = Progress()
    held = held_out and Objective(held_out)
    return Problem(Objective(training), held, losses, **(defaults | options))


class Watched(Progress):
    """Asks ``notify(iteration, loss, theta)`` at every look whether to stop."""

    def __init__(self, notify):
        super().__init__()
        self._notify = notify

    def observe(self, run, iteration, loss, theta, is_record):
        if self._notify(run.recorder.iteration + iteration, loss, theta):
            self.stop("callback")


def make_run(*theta, kind=0):
    return Run(kind, np.array(theta), Recorder(lambda theta: {}, 1))
