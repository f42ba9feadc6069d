r"""
Counts by place, hour and weekday, with gaps
============================================

Rides from 40 stations in 24 hours of 7 days, of which a quarter was counted. Log-means are a level
and two components, :math:`\log \mu = c + \sum_r a_r \otimes h_r \otimes d_r`: commuters on working
days, and evenings toward the weekend; counts are Poisson draws.
"""

import matplotlib.pyplot as plt
import numpy as np

from sktf import CPCompletion

rng, hours = np.random.default_rng(0), np.arange(24)
commute = np.exp(-((hours - 8) ** 2) / 6) + np.exp(-((hours - 17.5) ** 2) / 8)
evening = np.exp(-((hours - 20) ** 2) / 10)
days = np.array([[1, 1, 1, 1, 0.9, 0.1, 0], [0.1, 0.2, 0.3, 0.5, 1, 1, 0.4]])
places = rng.gamma(2, 0.6, (40, 2))
eta = np.einsum("pr,rh,rd->phd", places, [commute, evening], days)
mean = 1.5 * np.exp(eta)
rides = rng.poisson(mean)
seen = rng.random(rides.shape) < 0.25
X, X_hidden = np.argwhere(seen), np.argwhere(~seen)

# %%
# Squares take a count of 100 for as sure as one of 1. The deviance of counts does not, and its mean
# is never negative. The score is the share of deviance explained, of hidden cells; that of the true
# means tells what noise leaves.

model = CPCompletion(loss="poisson", shape=rides.shape, random_state=0).fit(X, rides[seen])
squares = CPCompletion(shape=rides.shape, random_state=0).fit(X, rides[seen])
print(f"components: {model.rank_}, level: {np.exp(model.offset_):.2f} rides")


def explained(predicted):
    """Return the share of deviance explained, as ``model.score`` does."""
    y, at = rides[~seen], np.maximum(predicted, 1e-3)
    logs = [y * np.log(np.where(y > 0, y, 1) / mu) - y + mu for mu in (at, y.mean())]
    return 1 - logs[0].sum() / logs[1].sum()


for name, predicted in {
    "counts": model.predict(X_hidden),
    "squares": squares.predict(X_hidden),
    "the truth": mean[~seen],
}.items():
    print(f"{name}: D^2 {explained(predicted):.3f}")

# %%
# The quarter of the cells that was counted tells of the others nearly all that there is to tell.
#
# A week at one station: what was counted, what the model says, and the means that counts were drawn
# from. One station has 44 counts, which tell its peaks to within half of their height.

place = int(np.argmin(np.abs(places.sum(axis=1) - np.median(places.sum(axis=1)))))
week = [(place, hour, day) for day in range(7) for hour in range(24)]
at = np.arange(168) / 24
told = seen[place].T.ravel()
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(at, mean[place].T.ravel(), color="0.7", lw=3, label="true mean")
ax.plot(at, model.predict(week), color="C0", lw=1.5, label="predicted mean")
ax.plot(at[told], rides[place].T.ravel()[told], "o", color="C1", ms=4, label="counted")
ax.set(ylabel="rides in an hour", xlim=(0, 7), xticks=np.arange(7) + 0.5)
ax.set_xticklabels(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
figure.legend(loc="outside upper center", ncols=3, fontsize="large")
plt.show()
