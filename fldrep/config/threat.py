"""Whom an attack assumes: whether the server keeps to the protocol, and what it knows besides the update.

All follows from the attack's entry. The words are those of the systematisation of Carletti et al. 2025 (USENIX
Security, "SoK: Gradient Inversion Attacks in Federated Learning"; its list of threat models in
github.com/gparrella12/sok_gias_fl), finer where an attack on a defense needs it: what is called surrogate data there
is `public-images`, the clients' data distribution `statistics`, and active manipulation `active`. Every server here
knows what is called basic knowledge and training details: the network, its weights, the number of images, and what a
client does with them.
"""

from typing import NamedTuple

from fldrep.config.attacks import AttackSettings, members_of, parts_of
from fldrep.config.parts import KNOWN_OF_COMPARED, words
from fldrep.errors import named

PASSIVE, ACTIVE = "honest-but-curious", "active"
SERVERS = {
    PASSIVE: "it follows the protocol and keeps what it sees",
    ACTIVE: "it changes the network that it sends to its clients",
}
KNOWLEDGE = {
    "labels": "the labels of the images",
    "mask": "where the defense leaves zeros",
    "noise": "the law of the noise that the defense adds",
    "mechanism": "how the defense changes entries",
    "several-updates": "several updates of the same images",
    "statistics": "the statistics of the images in batch norm",
    "public-images": "images of the same kind",
}


class Threat(NamedTuple):
    """The attacker of an attack: a word of `SERVERS`, and words of `KNOWLEDGE` in their order."""

    server: str
    knows: tuple[str, ...]

    @property
    def told(self) -> str:
        """What it knows, as a cell of a table.

        >>> Threat(PASSIVE, ("labels", "mask")).told, Threat(PASSIVE, ()).told
        ('labels, mask', 'the update alone')
        """
        return ", ".join(self.knows) or "the update alone"


def threat_of(settings: AttackSettings) -> Threat:
    """The attacker that an attack assumes; of an ensemble, one who can do and knows what some member asks for.

    Errors: `UnknownName` for a word that a part says of itself and that is none of `KNOWLEDGE` or `SERVERS`.

    >>> from fldrep.config.attacks import attack_settings
    >>> threat_of(attack_settings("gs-masked")), threat_of(attack_settings("idlg"))
    (Threat(server='honest-but-curious', knows=('labels', 'mask')), Threat(server='honest-but-curious', knows=()))
    """
    whole = [settings, *members_of(settings).values()]
    known = {word for one in whole for word in _known(one)}
    servers = {_server(one) for one in whole}
    return Threat(ACTIVE if ACTIVE in servers else PASSIVE, tuple(word for word in KNOWLEDGE if word in known))


def _known(settings: AttackSettings) -> list[str]:
    found = [*KNOWN_OF_COMPARED[settings.compares]]
    found += ["labels"] if settings.labels == "known" else []
    found += ["several-updates"] if settings.repeats else []
    said = [(kind, name, word) for kind, name in parts_of(settings) for word in words(kind, name).get("knows", ())]
    for kind, name, word in said:
        named(f"word in knows of {kind} {name!r}:", word, KNOWLEDGE)
    return [*found, *(word for _, _, word in said)]


def _server(settings: AttackSettings) -> str:
    said = words("optimiser", settings.optimiser).get("server", PASSIVE)
    named(f"word in server of optimiser {settings.optimiser!r}:", said, SERVERS)
    return said
