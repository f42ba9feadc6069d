"""Our error over that of the best other package, by problem; numbers of the page of full tables."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

TABLES = Path("comparison_tables.rst")  # beside this file, where Sphinx runs it
OURS = {
    "CPCompletion()": ("#56B4E9", "o"),
    "CompletionEnsemble()": ("#0072B2", "s"),
    "PosteriorCompletion()": ("#D55E00", "D"),
}
# No one can choose a rank by the cells that are to be predicted.
UNFAIR = "rank of the test set"


def tables(section):
    """Return the mean error of each method on each problem of a section of the page."""
    text = re.split(rf"(?m)^{section}\n-+\n", TABLES.read_text(encoding="utf-8"))[1]
    text = re.split(r"(?m)^[A-Z].*\n-{5,}\n", text)[0]
    found = {}
    for title, body in re.findall(r"(?m)^   (.+): held-out .*\n   -+\n((?:   .*\n)+)", text):
        rows = re.findall(r"(?m)^   (\S.*?) {2,}(\d+\.\d+) ", body)
        found[title.removeprefix("fibers: ")] = {name: float(mean) for name, mean in rows}
    return found


def ratios(errors):
    """Return the error of each of ours over the least of the others, and the name of that."""
    others = {n: e for n, e in errors.items() if "Completion" not in n and "of ours" not in n}
    best = min((n for n in others if UNFAIR not in n), key=others.get)
    return {name: errors[name] / others[best] for name in OURS if name in errors}, best


def draw(section):
    """Draw a row for each problem; right of the line another package has less error."""
    problems = {title: ratios(errors) for title, errors in tables(section).items()}
    figure, ax = plt.subplots(figsize=(6.4, 1.2 + 0.36 * len(problems)), layout="constrained")
    ax.axvspan(1, 2, color="0.93", zorder=0)
    ax.axvline(1, color="0.3", linewidth=1)
    for name, (color, marker) in OURS.items():
        points = [(own[name], row) for row, (own, _) in enumerate(problems.values()) if name in own]
        if points:
            ax.plot(*zip(*points, strict=True), marker, color=color, markersize=6, label=name)
    names = [f"{title}\nbest other: {best.split(',')[0]}" for title, (_, best) in problems.items()]
    ax.set_yticks(range(len(names)), names, fontsize="x-small")
    ax.invert_yaxis()
    every = [ratio for own, _ in problems.values() for ratio in own.values()]
    ax.set_xlim(min(every) - 0.03, max(*every, 1) + 0.03)
    ax.set_xlabel("error over that of the best other package\n(gray: the other package is better)")
    ax.grid(axis="x", color="0.9")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")


def practice():
    draw("Real tensors and ratings")


def posterior():
    draw("The posterior mean")
