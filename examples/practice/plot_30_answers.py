r"""
Answers of persons to items over sessions
=========================================

80 persons answer 40 items in 6 sessions, right or wrong; of each three answers two are missing. The
log-odds of a right answer are effects of person and item, and one component: a group of items that
some persons learn from session to session, and others forget.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sktf import CompletionClassifier

rng, shape = np.random.default_rng(0), (80, 40, 6)
skill, ease = rng.normal(0, 0.7, 80), rng.normal(0, 0.7, 40)
learns, taught = rng.uniform(-1, 2, 80), (np.arange(40) < 20) * 1.0
sessions = np.linspace(-1, 1.5, 6)
odds = skill[:, None, None] + ease[:, None]
odds = odds + np.einsum("p,i,s->pis", learns, taught, sessions)
chance = 1 / (1 + np.exp(-odds))
answers = np.where(rng.random(shape) < chance, "right", "wrong")
seen = rng.random(shape) < 1 / 3
X, X_hidden = np.argwhere(seen), np.argwhere(~seen)

# %%
# ``CompletionClassifier`` is a classifier of scikit-learn: any two labels, and probabilities in
# the order of ``classes_``. A logistic regression on one column for each person, item and session
# knows who is good and what is easy, but not who learns what.

model = CompletionClassifier(random_state=0).fit(X, answers[seen])
columns = OneHotEncoder(categories=[np.arange(size) for size in shape])
additive = make_pipeline(columns, LogisticRegression()).fit(X, answers[seen])
for name, its in {
    "components": model.predict_proba(X_hidden),
    "effects alone": additive.predict_proba(X_hidden),
    "the truth": np.column_stack([chance[~seen], 1 - chance[~seen]]),
}.items():
    print(f"{name}: log loss of hidden answers {log_loss(answers[~seen], its):.3f}")
print("components:", model.estimator_.rank_)

# %%
# The chance of a right answer to the first twenty items, for the ten persons who learn most and the
# ten who learn least. Components tell the two apart, but are drawn in, to chances of 0.39 to 0.77
# where the truth goes from 0.18 to 0.94: of some 80 answers a person held-out cells choose a strong
# penalty on rows. Without it hidden answers are predicted worse.

order = np.argsort(learns)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for ax, group, title in zip(
    axes, (order[-10:], order[:10]), ("learn most", "learn least"), strict=True
):
    cells = [(p, i, s) for s in range(6) for p in group for i in range(20)]
    for name, its, style in [
        ("truth", chance[group][:, :20].mean(axis=(0, 1)), {"color": "0.7", "lw": 4}),
        ("components", model.predict_proba(cells)[:, 0].reshape(6, -1).mean(axis=1), {}),
        ("effects alone", additive.predict_proba(cells)[:, 0].reshape(6, -1).mean(axis=1), {}),
    ]:
        ax.plot(np.arange(1, 7), its, label=name, **style)
    ax.set(title=f"ten persons who {title}", xlabel="session", ylim=(0, 1))
axes[0].set_ylabel("chance of a right answer")
axes[1].legend()
plt.show()
