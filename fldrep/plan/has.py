"""What a config has, in words: by them figures are picked that have something to draw."""

from fldrep.config.data import PHOTO
from fldrep.config.whole import Config


def features_of(config: Config) -> set[str]:
    """The words that hold of a config.

    `attacks`; `trained`, a model that learns; `photo`, the user's own; `several-updates`, updates of several kinds that
    are attacked; and the analyses: `identifiability`, `leakage`, `certificate`, `accounting`, `convergence`.
    """
    has = {name for entry in config.grid for name in entry.theory}
    attacked = [entry for entry in config.grid if entry.attacks]
    facts = {
        "attacks": bool(attacked),
        "trained": any(config.train[model].rounds for entry in config.grid for model in entry.models),
        "photo": any(PHOTO in entry.datasets for entry in config.grid),
        "several-updates": len({update for entry in attacked for update in entry.updates}) > 1,
        "convergence": config.theory.convergence is not None,
    }
    return has | {name for name, holds in facts.items() if holds}
