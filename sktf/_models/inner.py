"""Parameters of an estimator and of those inside it, by their own names."""


def parameters_named(estimator, *names):
    """Return {name: value} of all parameters whose last part is one of these names.

    ``encode`` of an estimator, and ``estimator__encode`` of one that it holds.
    """
    parameters = estimator.get_params().items()
    return {name: value for name, value in parameters if name.split("__")[-1] in names}
