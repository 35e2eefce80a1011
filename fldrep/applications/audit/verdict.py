"""The verdict of an audit, and its sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from fldrep.analysis.floors import RECOGNISED
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.determined import Determined

EXACTLY = "recovered-exactly"
RECOVERED = "recovered"
IDENTIFIABLE = "identifiable-not-recovered"
HIDDEN = "not-identifiable"
NOTHING = "nothing-to-attack"
IS_RECOVERED = (EXACTLY, RECOVERED)


@dataclass(frozen=True)
class Outcome:
    """What one attack came to: images recovered, and how many of these exactly, of so many that could be judged.

    `certified`: the update itself shows it.
    """

    attack: str
    certified: bool
    exact: int
    recovered: int
    judged: int


def verdict_of(outcomes: Sequence[Outcome], determined: Determined | None) -> str:
    """The first that holds: found exactly, found, hidden from attackers of this kind; else there to be found."""
    if any(one.exact for one in outcomes):
        return EXACTLY
    if any(one.recovered for one in outcomes):
        return RECOVERED
    return HIDDEN if determined is not None and determined.hides else IDENTIFIABLE


def sentence_of(verdict: str, case: Case, outcomes: Sequence[Outcome], determined: Determined | None) -> str:
    """The verdict in one sentence."""
    one, own = case.total == 1, "its image" if case.total == 1 else "its images"
    if verdict == NOTHING:
        return "The update is zero everywhere: it tells a server nothing, and there is nothing to attack."
    if verdict in IS_RECOVERED:
        counts = {it: it.exact if verdict == EXACTLY else it.recovered for it in outcomes}
        chosen = max(counts, key=counts.get)
        whose, them = f"{counts[chosen]} of {chosen.judged} images", "them"
        if chosen.judged == 1:
            whose, them = "the image" if one else "the client's image", "it"
        how = "exactly" if verdict == EXACTLY else "recognisably"
        shown = "the update itself proves it" if chosen.certified else "the originals show it"
        return (
            f"A server recovers {whose} behind this update {how}: the attack {chosen.attack} found {them}, and {shown}."
        )
    if verdict == HIDDEN:
        left = f"{'at least ' if determined.method == 'bound' else ''}{100 * determined.floor:.0f} %"
        return (
            f"This update hides {own} from an honest-but-curious server: {left} of the picture stays open (100 %: all "
            f"of it), and an image is recognised at {100 * RECOGNISED:.0f} % or less."
        )
    tried = "no attack tried here recovered it" if outcomes else "no attack was tried"
    if determined is not None and determined.method != "bound":
        return f"This update determines {own}, although {tried}: a better attack can, so that this is no protection."
    return f"Nothing shows that this update hides {own}: {tried}, but it holds enough numbers to tell."
