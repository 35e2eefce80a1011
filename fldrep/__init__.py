"""FLDRep: does a gradient defense protect the clients of federated learning?

The names below are the package's Python face. They are imported on first use, so that `import fldrep` stays light.
"""

from importlib import import_module

__version__ = "0.2.0"

_FACE = {
    "read_photo": "fldrep.data.pictures",
    "build_model": "fldrep.models.building",
    "wrap": "fldrep.models.wrapping",
    "client_update": "fldrep.models.face",
    "defend": "fldrep.defenses.face",
    "defended_model": "fldrep.defenses.face",
    "feature_scores": "fldrep.defenses.soteria.face",
    "column_mask": "fldrep.defenses.soteria.face",
    "reconstruct": "fldrep.attack.attacker",
    "Surrogate": "fldrep.attack.surrogate",
    "sent_network": "fldrep.attack.active",
    "compare": "fldrep.metrics.images",
    "identifiability": "fldrep.theory.identifiability",
    "audit": "fldrep.applications.audit.face",
    "defense": "fldrep.registry",
    "model": "fldrep.registry",
    "dataset": "fldrep.registry",
    "metric": "fldrep.registry",
    "objective": "fldrep.registry",
    "regulariser": "fldrep.registry",
    "optimiser": "fldrep.registry",
    "load_plugins": "fldrep.registry",
    "Defense": "fldrep.defenses.defense",
    "Section": "fldrep.config.section",
    "option": "fldrep.config.section",
}
__all__ = [*_FACE]


def __getattr__(name: str):
    if name not in _FACE:
        raise AttributeError(f"module 'fldrep' has no attribute {name!r}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
