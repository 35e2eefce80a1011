"""What a Flower app tells of a client's training: in the reply's metrics, the server's config or the run's config."""

from flwr.app import ConfigRecord, Context, Message

from fldrep.arguments import refuse

ROUND = "server-round"  # the key under which Flower's strategies tell the round
Key = str | int | float


def told_by(key: Key | None, message: Message, reply: Message, context: Context) -> int | float | None:
    """A number that is said, or what the app tells under a key; None where it tells nothing.

    The client's own reply counts before what the server asked for, and that before the config of the run.
    Errors: `ConfigError` where what is told is no number.
    """
    if not isinstance(key, str):
        return key
    records = [*reply.content.metric_records.values(), *message.content.config_records.values(), context.run_config]
    found = next((record[key] for record in records if key in record), None)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        refuse(key, found, "a number, where a Flower app tells of a client's training")
    return found


def client_of(context: Context) -> int:
    """The number of a client: of its partition, where the node has one, else of the node."""
    return int(context.node_config.get("partition-id", context.node_id))


def round_of(message: Message, context: Context, mod: str) -> int:
    """The round, from 1: as the server tells it, else counted in the client's state. Args: mod: whose count it is."""
    for config in message.content.config_records.values():
        if ROUND in config:
            return int(config[ROUND])
    counted = context.state.config_records.get(mod, {}).get("rounds", 0) + 1
    context.state[mod] = ConfigRecord({"rounds": counted})
    return counted
