"""What a section of the settings is, and the kinds of values that more than one has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86400)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Channel = Literal["open", "closed", "lgwan", "gsn"]


class Section(BaseModel):
    """A section of the file: frozen, and a key it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")
