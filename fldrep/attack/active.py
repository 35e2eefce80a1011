"""The network that a server sends where it attacks actively; from Python, clients must be given it."""

from torch import Tensor

from fldrep import registry
from fldrep.config.attacks import AttackSettings
from fldrep.config.threat import ACTIVE, threat_of
from fldrep.models.model import Model


def sent_network(settings: AttackSettings, model: Model, public: Tensor) -> Model:
    """A network as an attack's server sends it: as it is, unless the server is active.

    Args: public: images (M, C, H, W), in the network's input space, that the server holds.
    """
    if threat_of(settings).server != ACTIVE:
        return model
    return registry.value("optimiser", settings.optimiser)().sent_network(model, public, settings)
