"""Whom an audit assumes: what the server sees, what it knows, and what it was not given."""

from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence
from fldrep.config.attacks import attack_settings
from fldrep.config.threat import PASSIVE, threat_of

ACTIVE = "an active server, which sends weights made for spying (imprint modules, Fowl et al. 2022, arXiv:2110.13057)"
BEYOND = {
    ACTIVE: "the audit looks at the weights as they are; no defense on the update alone stops such a server",
    "several updates of the same client": "one update was given; noise of its own in each averages out over rounds",
    "what public images teach: generators, learned attackers, their spectrum": (
        "no public images were given; attacks that have them can only find more"
    ),
}


def threat_model(case: Case, evidence: Evidence, attacks: list[str]) -> dict[str, object]:
    """The attacker in words, and what each attack takes of it. Args: attacks: presets that were tried."""
    each = "one image" if case.images == 1 else f"{case.images} images"
    sees = f"the update of one client with {each}"
    if case.clients > 1:
        sees = f"the mean of {case.clients} clients' updates, {each} each (secure aggregation), and no single one"
    knows = ["the network and its weights before the step", "how pixels are normalised", f"that it is of {each}"]
    if evidence.labels is not None:
        knows.append("the labels" + (", as given" if case.labels is not None else ", which the update tells"))
    if case.local is not None:
        knows.append(f"the client's {case.steps} local steps, their order and step size")
    if evidence.zeros != "none":
        knows.append("which entries were pruned: they are zero")
    unknown = ["the images, or others like them, beyond a spectrum of 1/frequency", "other updates of the client"]
    return {
        "server": PASSIVE,
        "sees": sees,
        "knows": knows,
        "does_not_know": unknown,
        "attacks": {name: list(threat_of(attack_settings(name)).knows) for name in attacks},
        "assumes": ["batch norm and dropout in eval mode, as the gradient was taken"],
    }


def beyond(case: Case, names: list[str]) -> list[dict[str, str]]:
    """What an audit does not try, and why. Args: names of the attacks that it did consider."""
    found = [{"what": what, "why": why} for what, why in BEYOND.items()]
    if any(getattr(module, "running_mean", None) is not None for module in case.model.modules()):
        why = "attacks here do not use them; sent beside the update they tell of its images"
        found.append({"what": "batch norm's running statistics after the step", "why": why})
    others = sorted({*attack_settings("ensemble").members, "idlg", "gs-averaged"} - {*names})
    why = "published attacks or variants that those tried strengthen; docs/attacks.md has them measured"
    return [*found, {"what": ", ".join(others), "why": why}]
