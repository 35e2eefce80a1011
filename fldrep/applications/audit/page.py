"""audit.html: one self-contained page, the verdict first; it asks the network for nothing."""

from collections.abc import Mapping

from torch import Tensor

from fldrep.analysis.floors import RECOGNISED
from fldrep.applications.audit.attacks import DOES
from fldrep.applications.audit.changes import HEADLESS, NOISE, PRUNED
from fldrep.applications.audit.verdict import EXACTLY, HIDDEN, IDENTIFIABLE, NOTHING, RECOVERED
from fldrep.report.html import rendered
from fldrep.report.pictures import address, enlarged, picture_of

SIDE = 160  # screen pixels that a picture is enlarged to, in whole multiples
HEADS = {
    EXACTLY: ("Recovered exactly", "no"),
    RECOVERED: ("Recovered", "no"),
    IDENTIFIABLE: ("Not recovered, but not protected", "partly"),
    HIDDEN: ("Not identifiable", "yes"),
    NOTHING: ("Nothing to attack", "yes"),
}
KINDS = {"gradient": "a gradient", "weights": "weights before and after"}


def page_text(said: dict, pictures: Mapping[str, Tensor]) -> str:
    """The page as HTML. Args: said: what result.json holds; pictures {name: (C, H, W)}, pixels in [0, 1]."""
    head, colour = HEADS[said["verdict"]]
    return rendered(
        "audit.html.j2",
        head=head,
        colour=colour,
        said=said,
        sent=said["update"],
        kind=KINDS[said["update"]["kind"]],
        determined=determined_words(said),
        read=last_layer_words(said),
        originals=_shown(pictures, "original"),
        attacks=[(one, attack_words(one), _shown(pictures, one["attack"])) for one in said["attacks"]],
        changes=[change_words(one) for one in said["counterfactual"]],
    )


def determined_words(said: dict) -> str:
    """What the update determines, in words; empty where nothing was to be attacked."""
    one = said["identifiability"]
    if one is None:
        return ""
    whole = f"{one['unknowns']:,}"
    if one["method"] == "bound":
        enough = one["rank"] == one["unknowns"]
        counted = f"It holds {said['update']['nonzero']:,} numbers that are not zero, for {whole} pixel values. "
        if enough:
            return counted + "That is enough to determine them all; whether it does was not measured."
        return counted + f"At least {100 * one['floor']:.2g} % of the picture stays open, whatever the attack."
    share = f"Of {whole} pixel values, the update notices a change in {one['rank']:,} independent directions."
    left = f"To the precision with which it was sent, it leaves {percent(one['floor'])} of the picture open"
    known = f"an image is recognised at {100 * RECOGNISED:.0f} % or less"
    return f"{share} {left}, where 100 % is to know nothing, and {known}."


def last_layer_words(said: dict) -> list[str]:
    """What the last layer tells, in words: labels and the representation."""
    labels, it, update = said["labels"], said["representation"], said["update"]
    words = []
    if labels:
        counts = ", ".join(f"{labels.count(one)} of class {one}" for one in sorted(set(labels)))
        words.append(f"Labels, {update['labels_from']}: {counts}.")
    else:
        words.append(f"Labels: {update['labels_from']}.")
    if it["readable"]:
        mixed = (
            "as a mixture of those of all images" if update["images"] > 1 or update["steps"] > 1 else "but for noise"
        )
        what = "those of its image, exactly" if it["exact"] else mixed
        words.append(
            f"The representation in front of the last layer: {it['readable']:,} of {it['features']:,} features, {what}."
        )
    else:
        words.append("The representation in front of the last layer is not told.")
    return words


def attack_words(one: dict) -> str:
    """What an attack found, in words."""
    words = [f"It {DOES[one['attack']]}."]
    if one["residual"] is None:
        words.append("It diverged.")
    elif one["residual"] >= 1:
        words.append("What it found does not explain the update.")
    else:
        words.append(f"What it found leaves {percent(one['residual'])} of the update unexplained.")
    if one["certified"]:
        words.insert(1, "Certified exact: no other image near by gives this update.")
    if one["ssim"] is not None:
        near = "recovered" if one["recovered"] else "not recovered"
        words.append(
            f"Against the originals: {near}, SSIM {one['ssim']:.3f} (1 is the same), squared error {one['mse']:.2g}."
        )
    elif not one["certified"]:
        words.append("Without the originals nothing says whether it is the right image: look at it.")
    return " ".join(words)


def change_words(one: dict) -> tuple[str, str, str]:
    """A change, what measured it, and what it does, in words."""
    if one["change"] == NOISE:
        change = (
            f"Gaussian noise of deviation {one['strength']:.2g} on each entry ({one['relative']:.2g} times their size)"
        )
    elif one["change"] == PRUNED:
        change = f"the smallest {100 * one['strength']:.4g} % of the entries set to zero"
    else:
        change = "the whole weight gradient of the last layer withheld" if one["change"] == HEADLESS else one["change"]
    by = {"identifiability": "derivative of the update", "bound": "counting"}.get(one["by"], f"attack {one['by']}")
    if one["ssim"] is not None:
        return (
            change,
            by,
            f"{'no longer recovers' if one['hides'] else 'still recovers'} the image (SSIM {one['ssim']:.2f})",
        )
    if one["by"] == "bound":
        return change, by, "from here on too few numbers are left to tell the image"
    left = f"leaves {percent(one['floor'])} of the picture open"
    return change, by, f"{'hides the image' if one['hides'] else 'does not hide the image'}: {left}"


def percent(share: float) -> str:
    """A share in percent, readable at any size.

    >>> percent(0.1234), percent(3e-9)
    ('12 %', 'less than 0.001 %')
    """
    if share < 1e-5:
        return "less than 0.001 %"
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _shown(pictures: Mapping[str, Tensor], name: str) -> list[tuple[str, str]]:
    """The pictures of one attack, or the originals: a title and a data URI each."""
    stems = [one for one in pictures if one.rpartition("-")[0] == name]
    return [(stem.rpartition("-")[2], _address(pictures[stem])) for stem in stems]


def _address(pixels: Tensor) -> str:
    picture = picture_of(pixels.numpy())
    return address(enlarged(picture, max(1, SIDE // max(picture.size))))
