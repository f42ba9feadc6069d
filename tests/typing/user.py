"""A page of a user's code, for mypy and pyright: what is wrong is marked, all else is right.

An ignored line that has no error is an error of its own, in both.
"""

import numpy as np

import sktf
from sktf import CompletionEnsemble, CompletionImputer, CPCompletion, DeepMatrixCompletion
from sktf.datasets import load_il2, split_entries
from sktf.plotting import FactorsDisplay

# The README's example.
X, y, shape = load_il2()
X, X_hidden, y, y_hidden = split_entries(X, y, test_size=0.5, random_state=1)
model = CPCompletion(shape=shape, random_state=1).fit(X, y)
print("R^2 on hidden cells:", round(model.score(X_hidden, y_hidden), 3))
print(model.rank_ + 1, model.factors_[0].shape, DeepMatrixCompletion().fit(X, y).layers_)
print("one cell:", model.predict([[0, 1, 2, 3]]).round(3))
print(dict(model.summary().rows)["rank"], model.summary().tables["modes"][0]["size"])

CPCompletion(encode=True).fit([["ann", "tea"]], [1.0]).predict_frame(X)
CPCompletion(10, dtype=np.float32, shape=[3, 4], init=[np.ones((3, 10)), np.ones((4, 10))])
CompletionEnsemble(DeepMatrixCompletion(depth=2, hidden=(3,)), n_estimators=3)
FactorsDisplay.from_estimator(model, mode_names=["ligand", "time", "dose", "cell"])
sktf.metrics.effective_rank(np.eye(2))
filled = sktf.complete(np.eye(2), CPCompletion(3), random_state=0)
CompletionImputer(CPCompletion(3), random_state=0).fit(X).set_output(transform="pandas")

CompletionImputer(indicator=True)  # type: ignore[call-arg]
sktf.complete(X, None, "values")  # type: ignore[call-arg]
CPCompletion(n_componentz=3)  # type: ignore[call-arg]
CPCompletion(max_iter="many")  # type: ignore[arg-type]
CPCompletion(4, None, 5)  # type: ignore[call-arg, arg-type]
sktf.CPCompletions()  # type: ignore[attr-defined]
