"""A client: it trains on its digits under the defense that the server names, and what it sends is recorded."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod

from fldrep.applications.flower import DefenseMod, RecordMod
from mnist_app.task import build, share_of, train

DEFENSES = {
    "none": DefenseMod("none"),
    "soteria": DefenseMod("soteria", rate=0.6),
    "compression": DefenseMod("compression", rate=0.8),
    "gaussian": DefenseMod("gaussian", std=0.01, clip=1.0),
    "gaussian-dp": DefenseMod("gaussian-dp", epsilon=10.0, delta=1e-5, clip=1.0),
    # Flower's own. They clip the change of the weights, lr times the gradient: 0.1 here is 1.0 above.
    "flower-clipping": fixedclipping_mod,
    "flower-local-dp": LocalDpMod(clipping_norm=0.1, sensitivity=0.2, epsilon=10.0, delta=1e-5),
}


def defended(message, context, call_next):
    """A mod: the defense that the server names."""
    return DEFENSES[message.content["config"]["defense"]](message, context, call_next)


def recorded(message, context, call_next):
    """A mod: what leaves the client, in a folder for each defense."""
    asked = message.content["config"]
    if not asked["records"]:
        return call_next(message, context)
    return RecordMod(f"{asked['records']}/{asked['defense']}")(message, context, call_next)


app = ClientApp(mods=[recorded, defended])  # the first mod is the last to see what is sent


@app.train()
def train_round(message: Message, context: Context) -> Message:
    """One round of a client."""
    asked, node, network = message.content["config"], context.node_config, build()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    pixels, labels = share_of(node["partition-id"], node["num-partitions"], asked["images"])
    train(network, pixels, labels, asked["local-epochs"], asked["batch-size"], asked["lr"])
    metrics = MetricRecord({"num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": metrics}), reply_to=message)
