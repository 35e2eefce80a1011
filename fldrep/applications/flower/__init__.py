"""FLDRep in a Flower app: a mod that defends what a client sends, and one that records it for an audit."""

from fldrep.errors import lacking

try:
    from fldrep.applications.flower.defending import DefenseMod
    from fldrep.applications.flower.recording import RecordMod
    from fldrep.applications.flower.training import defend_step
except ModuleNotFoundError as error:
    raise lacking(error, "flwr", extra="flower") from None

__all__ = ["DefenseMod", "RecordMod", "defend_step"]
