"""Load a base model in the quickest number format in which its answers are its own."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lm.batching import UnfitFormat
from lm.loading import Base, load_base
from lm.settings import EngineSettings
from lm.slots import Slots


def load_serviceable(
    name: str, device: str = "auto", dtype: str = "auto", warn: Callable[[str], None] = lambda message: None
) -> Base:
    """As `load_base`, and checked to run side by side; float32 takes the place of an unfit format that "auto" chose.

    The same format serves and trains, so that what an update learns from is what people were answered with.

    Args:
        warn: told in one sentence where float32 took another format's place.

    Raises:
        Problem: as `load_base`; the model's kind cannot run in slots; or the format asked for by name is unfit.
    """
    base = load_base(name, device, dtype)
    try:
        Slots(base, EngineSettings(slots=1, prefix_cache=0), context=2)
        return base
    except UnfitFormat as unfit:
        if dtype != "auto" or base.model.dtype == torch.float32:
            raise
        warn(f"{unfit} The model runs in float32 instead.")
    del base  # and with the error its frames are gone: the first copy's memory is free before the second is read
    return load_base(name, device, "float32")
