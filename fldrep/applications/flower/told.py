"""What a Flower app tells of a client's training: in the reply, the server's config or the run's config."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ConfigRecord, Context, Message

from fldrep.arguments import refuse

ROUND = "server-round"  # the key under which Flower's strategies tell the round
LR = ("lr", "learning-rate")  # the step size, as Flower's own templates call it
Key = str | int | float | tuple[str, ...]


def told_by(key: Key | None, message: Message, reply: Message, context: Context) -> int | float | None:
    """A number that is said, or what the app tells under a key, or one of several; None where it tells nothing.

    The client's own reply counts before what the server asked for, and that before the config of the run. A key may be
    written with hyphens or underscores: Flower does both.
    Errors: `ConfigError` where what is told is no number.
    """
    if not isinstance(key, str | tuple):
        return key
    replied = [*reply.content.metric_records.values(), *reply.content.config_records.values()]
    for record in [*replied, *message.content.config_records.values(), context.run_config]:
        for name, found in _named(record, (key,) if isinstance(key, str) else key).items():
            if isinstance(found, bool) or not isinstance(found, int | float):
                refuse(name, found, "a number, where a Flower app tells of a client's training")
            return found
    return None


def client_of(context: Context) -> int:
    """The number of a client: of its partition, where the node has one, else of the node."""
    return int(context.node_config.get("partition-id", context.node_id))


def round_of(message: Message, context: Context, mod: str) -> int:
    """The round, from 1: as the server tells it, else counted in the client's state. Args: mod: whose count it is."""
    for config in message.content.config_records.values():
        for found in _named(config, (ROUND,)).values():
            return int(found)
    counted = context.state.config_records.get(mod, {}).get("rounds", 0) + 1
    context.state[mod] = ConfigRecord({"rounds": counted})
    return counted


def _named(record: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries of a record under these keys, in their order."""
    spelled = {name.replace("_", "-"): name for name in record}
    names = [spelled[one] for one in (key.replace("_", "-") for key in keys) if one in spelled]
    return {name: record[name] for name in names}
