"""What averages tell in their ``summary``: their members, or their chains."""

from sktf._models.facts import (
    known,
    rows_of_cells,
    rows_of_end,
    rows_of_extension,
    rows_of_held_out,
    table_of_modes,
)
from sktf._models.summary import is_known

# Members that are told one by one.
_MOST = 10


def summary_of_members(ensemble):
    """Return the rows and the tables of an ensemble, all of whose members see the same cells."""
    best, n_members = ensemble.best_estimator_, len(ensemble.estimators_)
    rows = [
        *rows_of_cells(best),
        *known(members=n_members, averaged=ensemble.n_average_, rank=ensemble.rank_),
        *known(share_of_members_of_this_rank=ensemble.rank_agreement_),
        *rows_of_end(ensemble),
        *rows_of_extension(best),
    ]
    members = [_member(ensemble, number) for number in range(min(n_members, _MOST))]
    if n_members > _MOST:
        members.append(dict.fromkeys(members[0]) | {"member": f"{n_members - _MOST} more"})
    return rows, {"modes": table_of_modes(best), "members": members}


def _member(ensemble, number):
    member, weights = ensemble.estimators_[number], ensemble.weights_
    score = float(ensemble.validation_scores_[number])
    return {
        "member": str(number + 1) if ensemble.names_ is None else ensemble.names_[number],
        "estimator": type(member).__name__,
        "weight": float(weights[number]) if number < len(weights) else 0.0,
        "rank": member.rank_,
        "held-out R^2": score if is_known(score) else None,
        "seconds": getattr(member, "_seconds", None),
    }


def summary_of_chains(model):
    """Return the rows and the tables of Gibbs chains."""
    draws = model._draws
    rows = [
        *rows_of_cells(model),
        *known(descent=type(model.estimator_).__name__, rank=model.rank_),
        *known(weight_of_the_chains=model.weight_, chains=len(set(draws.chains.tolist()))),
        *known(draws=len(draws.draws), components=model.n_components_, **{"R-hat": model.r_hat_}),
        *known(noise_deviation=model.noise_std_),
        *rows_of_held_out(model),
        *rows_of_end(model),
    ]
    return rows, {"modes": table_of_modes(model)}
