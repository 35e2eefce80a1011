"""What every section of a config is made of.

Importing this package does not import torch: the Snakefile reads it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


Rate = Annotated[float, Field(ge=0, le=1)]


LARGEST = 2**31 - 1  # what every table and every package takes for a whole number


Positive = Annotated[int, Field(ge=1, le=LARGEST)]


Natural = Annotated[int, Field(ge=0, le=LARGEST)]


Threads = Annotated[int, Field(ge=1, le=1024)]


def option(default: Any, meaning: str, *, unit: str = "", source: str = "", **limits: Any) -> Any:
    """A pydantic field whose meaning, unit and source also go into the schema and into config/README.md."""
    extra = {key: value for key, value in {"unit": unit, "source": source}.items() if value}
    return Field(default, description=meaning, json_schema_extra=extra or None, **limits)


class Section(BaseModel):
    """Frozen, typed, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)
