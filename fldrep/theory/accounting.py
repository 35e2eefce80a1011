"""The (epsilon, delta) that a client spends over a training run, where its noise guarantees anything at all.

Level: one client's whole data set is replaced by another; clients and their numbers of images are public. Each client
scales its update to an L2 norm of at most `clip` and adds independent noise of standard deviation `std` to every entry,
so replacing its data moves what it sends by at most 2 clip. Two servers are told apart:

- `each-update`: the server of this package, which sees every update as it was sent. A client pays in each round it
  takes part in. The server knows whom it asked, so drawing clients at random hides nothing; a client may be drawn
  every round.
- `sum-only`: secure aggregation, which this package does not run: the server learns only the sum of the K updates,
  whose noise has K times the variance, provided all K add theirs and none tells the server what it drew. K of N
  clients are drawn without replacement, in secret.

Without clipping one client can move the sum by any amount, and no noise hides that: no guarantee. Nor is there one for
buffers of batch norm, which are sent as they are. Numbers are for the average of equal weights; a client with w times
the mean number of images counts w times its clip where only the sum is seen.

Gaussian noise is accounted by the library dp-accounting: exactly where every update is seen (Balle and Wang 2018,
arXiv:1805.06530), by Renyi divergences under sampling without replacement (Wang et al. 2019, arXiv:1808.00087).
Laplace noise of scale b = std / sqrt(2): an L2 clip bounds the L1 norm only by sqrt(entries) * clip, so pure epsilon
grows with the root of the number of weights and is reported as it is. But each entry alone is |shift| / b private,
hence shift^2 / (2 b^2) zero-concentrated (Bun and Steinke 2016, arXiv:1605.02065, proposition 1.4), and these add up
over independent entries to rho = (2 clip)^2 / (2 b^2), whatever the number of weights: as much as Gaussian noise of
standard deviation b gives.
"""

import math

import dp_accounting
from dp_accounting.rdp import RdpAccountant

from fldrep.config.defenses import DefenseSettings
from fldrep.config.train import TrainSettings
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import Defense
from fldrep.errors import ConfigError
from fldrep.tables.accounting import MEANINGLESS

REPLACE_ONE = dp_accounting.NeighboringRelation.REPLACE_ONE
NO_CLIP = "no guarantee: without clipping one client can move the update by any amount"
NO_NOISE = "no guarantee: nothing random is added"
BUFFERS = "no guarantee: batch-norm buffers are sent without noise"


def accounting_rows(
    defense: DefenseSettings,
    train: TrainSettings,
    *,
    clients: int,
    entries: int,
    buffers_sent: bool,
    delta: float | None = None,
    participations: int | None = None,
) -> list[dict]:
    """What one client spends over the whole run, a row for each kind of server.

    Args: clients: N; entries: weights of the model; buffers_sent: whether the model has batch-norm buffers, which no
    defense touches; delta: 1 / N^1.1 if not given; participations: rounds that the client takes part in, where they are
    known (every round if not given, as may happen).
    Rows: server, neighbours, sampling, rounds, clients, sampled, participations, noise_multiplier, delta, epsilon,
    epsilon_pure, guarantee; numbers that do not exist are None.
    Errors: `ConfigError` for a delta outside (0, 1/N), from which one client of N may be given away whole.
    """
    delta = clients**-1.1 if delta is None else delta
    if not 0 < delta < 1 / max(clients, 2):
        raise ConfigError(f"delta={delta} is not between 0 and 1/clients = {1 / max(clients, 2):g}")
    sampled = max(1, round(train.fraction * clients))
    shared = {
        "neighbours": "one client's data replaced",
        "sampling": f"{sampled} of {clients} clients a round, uniform, without replacement",
        "rounds": train.rounds,
        "clients": clients,
        "sampled": sampled,
        "participations": train.rounds if participations is None else participations,
        "delta": delta,
    }
    nothing = {"noise_multiplier": None, "epsilon": None, "epsilon_pure": None}
    hooks = defense_of(defense)
    own = hooks.privacy({**shared, "entries": entries})
    if own is not None:
        return [{**shared, **nothing, **row} for row in own]
    reason = no_guarantee(hooks, buffers_sent)
    if reason:
        return [{"server": server, **shared, **nothing, "guarantee": reason} for server in SERVERS]
    return [{"server": server, **shared, **spent(hooks, shared, entries)} for server, spent in SERVERS.items()]


def no_guarantee(defense: Defense, buffers_sent: bool) -> str | None:
    """Why a defense guarantees nothing, None if it does."""
    if not defense.std:
        return NO_NOISE
    if defense.clip is None:
        return NO_CLIP
    return BUFFERS if buffers_sent else None


def _each_update(defense: Defense, run: dict, entries: int) -> dict:
    if defense.noise == "laplace":
        multiplier = defense.std / math.sqrt(2) / (2 * defense.clip)
        epsilon = concentrated_epsilon(run["participations"] / (2 * multiplier**2), run["delta"])
        pure = run["participations"] * math.sqrt(entries) / multiplier
        return _found(multiplier, epsilon, pure, run["delta"])
    multiplier = defense.std / (2 * defense.clip)
    return _found(multiplier, gaussian_epsilon(multiplier, run["participations"], run["delta"]), None, run["delta"])


def _sum_only(defense: Defense, run: dict, entries: int) -> dict:
    if defense.noise == "laplace":
        # the sum of Laplace noises has no simple account; a sum tells no more than its parts
        return _each_update(defense, run, entries)
    multiplier = math.sqrt(run["sampled"]) * defense.std / (2 * defense.clip)
    sampled = sampled_epsilon(multiplier, run["rounds"], run["delta"], run["clients"], run["sampled"])
    epsilon = min(sampled, gaussian_epsilon(multiplier, run["rounds"], run["delta"]))  # either bound holds
    return _found(multiplier, epsilon, None, run["delta"])


SERVERS = {"each-update": _each_update, "sum-only": _sum_only}


def gaussian_epsilon(multiplier: float, times: int, delta: float) -> float:
    """Epsilon at `delta` of so many Gaussian mechanisms, exactly: together they are one, with root(times) less noise.

    Args: multiplier: standard deviation / L2 sensitivity.
    """
    if times == 0:
        return 0.0
    return float(dp_accounting.get_epsilon_gaussian(multiplier / math.sqrt(times), delta))


def sampled_epsilon(multiplier: float, times: int, delta: float, clients: int, sampled: int) -> float:
    """A bound on epsilon where each Gaussian mechanism sees `sampled` of the clients, drawn anew and in secret.

    Args: multiplier: standard deviation / L2 sensitivity, neighbours being one client replaced.
    """
    one = dp_accounting.SampledWithoutReplacementDpEvent(clients, sampled, dp_accounting.GaussianDpEvent(multiplier))
    return float(RdpAccountant(neighboring_relation=REPLACE_ONE).compose(one, times).get_epsilon(delta))


def concentrated_epsilon(rho: float, delta: float) -> float:
    """A bound on epsilon at `delta` of any mechanism that is rho-zero-concentrated."""
    event = dp_accounting.ZCDpEvent(rho)
    return float(RdpAccountant(neighboring_relation=REPLACE_ONE).compose(event).get_epsilon(delta))


def _found(multiplier: float, epsilon: float, pure: float | None, delta: float) -> dict:
    words = f"({epsilon:.3g}, {delta:.2g})-DP for a client over the run"
    words += ": in effect none" if epsilon > MEANINGLESS else ""
    return {"noise_multiplier": multiplier, "epsilon": epsilon, "epsilon_pure": pure, "guarantee": words}
