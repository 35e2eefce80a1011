"""No defense: the update leaves the client as it is."""

from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.models.updates import Update


def send_as_is(update: Update, settings: DefenseSettings, client: Client) -> Update:
    """The update itself, marked as defended nowhere."""
    return Update(update, settings.defended_layers)


DEFENSES = {"none": send_as_is}
