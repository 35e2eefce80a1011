"""The weights in Flower's messages: those that a client receives and those that it sends, as tensors by name."""

from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, Message
from torch import Tensor, from_numpy

from fldrep.errors import ConfigError

TRAIN = "train"  # the category of messages that ask a client to train


def asks_to_train(message: Message) -> bool:
    """Whether a message is of `train`, or of a named action of it."""
    return message.metadata.message_type.partition(".")[0] == TRAIN


def received_and_sent(message: Message, reply: Message, whose: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a message and of its reply. Args: whose: the mod that asks, for the error.

    Errors: `ConfigError` where one of them does not hold one ArrayRecord, or the names or shapes are not the same.
    """
    received, sent = _weights(message, whose, "what the client received"), _weights(reply, whose, "its reply")
    if received.keys() != sent.keys():
        other = min(received.keys() ^ sent.keys())
        raise ConfigError(f"{whose}: {other!r}: expected the same arrays in what the client received and in its reply")
    for name, value in received.items():
        if value.shape != sent[name].shape:
            shapes = f"{tuple(value.shape)} was received and {tuple(sent[name].shape)} sent"
            raise ConfigError(f"{whose}: {name!r}: {shapes}: expected the same shape")
    return received, sent


def replace_sent(reply: Message, weights: Mapping[str, Tensor]) -> None:
    """Put other weights into a reply, under the key of its one ArrayRecord."""
    (key,) = reply.content.array_records
    reply.content[key] = record_of(weights)


def tensors_of(record: Mapping[str, Array]) -> dict[str, Tensor]:
    """The arrays of a record as tensors."""
    return {name: from_numpy(array.numpy().copy()) for name, array in record.items()}


def record_of(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Tensors as a record of arrays."""
    return ArrayRecord({name: Array(value.detach().cpu().numpy()) for name, value in tensors.items()})


def _weights(message: Message, whose: str, what: str) -> dict[str, Tensor]:
    records = list(message.content.array_records.values())
    if len(records) != 1:
        raise ConfigError(f"{whose}: {what} holds {len(records)} ArrayRecords: expected one, of the model's weights")
    return tensors_of(records[0])
