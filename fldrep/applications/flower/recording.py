"""A Flower mod that records what a client sends, for `python -m fldrep audit`."""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from fldrep.applications.audit.record import Record
from fldrep.applications.flower.told import LR, Key, client_of, round_of, told_by
from fldrep.applications.flower.weights import asks_to_train, received_and_sent


class RecordMod:
    """Write what each client received and sent in each round to `FOLDER/round-R-client-C.safetensors`.

    The first mod of a list sees what the server will see: `mods=[RecordMod("records"), ...]`. A record holds the
    weights received and sent, and what the app tells of the training: a number, or the key under which one stands in
    the reply, else in the config that the server sent, else in that of the run. The audit asks for what is
    not told. A record of the same round and client is replaced. It holds no image, and is as private as what is sent.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        images: Key | None = "num-examples",
        lr: Key | None = LR,
        epochs: Key | None = "local-epochs",
        batch_size: Key | None = "batch-size",
    ):
        self.folder = Path(folder).absolute()
        self.keys = {"images": images, "lr": lr, "epochs": epochs, "batch_size": batch_size}

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """As Flower calls a mod: what is sent stays as it is. Errors: `ConfigError`; `DataError` naming the file."""
        reply = call_next(message, context)
        if not asks_to_train(message) or reply.has_error():
            return reply
        received, sent = received_and_sent(message, reply, "RecordMod")
        number, client = round_of(message, context, "fldrep.RecordMod"), client_of(context)
        told = {name: told_by(key, message, reply, context) for name, key in self.keys.items()}
        told = {name: value for name, value in told.items() if value is not None}
        path = self.folder / f"round-{number}-client-{client}.safetensors"
        Record(received, sent, {**told, "round": number, "client": client}).write(path)
        return reply
