"""No defense: the update leaves the client as it is."""

from fldrep.defenses.defense import Defense
from fldrep.registry import defense


@defense("none")
class Undefended(Defense):
    """The update leaves the client as it is."""

    order, colour, marker = 0, "#222222", "X"
    strengths = ()
