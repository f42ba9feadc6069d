r"""
Sensors with gaps of whole days
===============================

Twenty sensors report every hour for forty days; now and then one is silent for days. Daily
patterns are shared, :math:`T = \sum_r s_r \otimes d_r \otimes h_r` (sensor, day, hour), so that
other sensors on those days, and other days of that sensor, say what was missed.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score

from sktf import CompletionWarning, CPCompletion
from sktf.datasets import entries_from_dense
from sktf.metrics import normalized_rmse
from sktf.model_selection import BlockKFold, CellKFold

# Whole days are missing, of which held-out cells tell nothing: fit warns, the folds below tell.
warnings.simplefilter("ignore", CompletionWarning)

# %%
# Three patterns: day and night, the rush hours of weekdays, and weather that moves from day to day.

rng = np.random.default_rng(0)
sensors, days, hours = 20, np.arange(40), np.arange(24)
weekday = np.where(days % 7 < 5, 1.0, 0.2)
weather = np.convolve(rng.standard_normal(46), np.ones(7) / np.sqrt(7), "valid")
rush = np.exp(-((hours - 8) ** 2) / 4) + np.exp(-((hours - 17) ** 2) / 6)
by_day = np.column_stack([np.ones(40), weekday, weather])
by_hour = np.column_stack([1.5 - np.cos(2 * np.pi * hours / 24), 2 * rush, np.ones(24)])
truth = np.einsum("sr,dr,hr->sdh", rng.uniform(0.2, 1.5, (sensors, 3)), by_day, by_hour)
readings = truth + 0.3 * rng.standard_normal(truth.shape)
for sensor in range(sensors):
    for first in rng.integers(0, 38, 3):  # three silences of two to nine days each
        readings[sensor, first : first + rng.integers(2, 10)] = np.nan
X, y = entries_from_dense(readings)
print(f"{1 - len(y) / truth.size:.0%} of the readings are missing")

# %%
# Held out as it is missing: whole days of a sensor, five at a time. Single cells give about the
# same score here, where the truth has a low rank: a gap is filled by other sensors on those days
# and by other days of that sensor, which are seen either way. Other data may score lower by days.

model = CPCompletion(shape=truth.shape, n_init=3, random_state=0)
for folds in CellKFold(3, random_state=0), BlockKFold(3, block_shape=(1, 5, 24), random_state=0):
    print(type(folds).__name__, cross_val_score(model, X, y, cv=folds).round(3))

# %%
# Two plainer fillings: lines between the readings, and the mean of the sensor at that hour.

model.fit(X, y)
missing = np.argwhere(np.isnan(readings))
filled = model.predict(missing)
series = readings.reshape(sensors, -1)
time = np.arange(series.shape[1])
known = ~np.isnan(series)
lines = np.array([np.interp(time, time[k], s[k]) for s, k in zip(series, known, strict=True)])
lines = lines.reshape(truth.shape)[tuple(missing.T)]
typical = np.nanmean(readings, axis=1)[missing[:, 0], missing[:, 2]]
guesses = {f"completed, rank {model.rank_}": filled, "straight lines": lines, "mean": typical}
for name, guess in guesses.items():
    print(f"{name}: NRMSE {normalized_rmse(truth[tuple(missing.T)], guess):.3f} in the gaps")

# %%
# The sensor that is silent longest.

sensor = int(np.isnan(readings).sum(axis=(1, 2)).argmax())
at = missing[:, 0] == sensor
hour = missing[at, 1] * 24 + missing[at, 2]
figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
axis.plot(time / 24, truth[sensor].ravel(), color="0.7", lw=1, label="truth")
axis.plot(time / 24, series[sensor], ".", ms=2, color="k", label="reading")
axis.plot(hour / 24, filled[at], ".", ms=3, color="#D55E00", label="filled")
axis.set(xlim=(hour[0] / 24 - 3, hour[0] / 24 + 18), xlabel="day", ylabel="reading")
axis.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))

# %%
# In gaps of days the completed tensor is off by 0.04 standard deviations, the means by 0.84.
