"""The modules, one file per family."""

from __future__ import annotations

from ..module import Module
from . import (
    activation,
    container,
    conv,
    distance,
    dropout,
    embedding,
    flatten,
    linear,
    loss,
    norm,
    parameter_containers,
    pooling,
)
from .activation import *  # noqa: F403
from .container import *  # noqa: F403
from .conv import *  # noqa: F403
from .distance import *  # noqa: F403
from .dropout import *  # noqa: F403
from .embedding import *  # noqa: F403
from .flatten import *  # noqa: F403
from .linear import *  # noqa: F403
from .loss import *  # noqa: F403
from .norm import *  # noqa: F403
from .parameter_containers import *  # noqa: F403
from .pooling import *  # noqa: F403

__all__ = [
    "Module",
    *activation.__all__,
    *container.__all__,
    *conv.__all__,
    *distance.__all__,
    *dropout.__all__,
    *embedding.__all__,
    *flatten.__all__,
    *linear.__all__,
    *loss.__all__,
    *norm.__all__,
    *parameter_containers.__all__,
    *pooling.__all__,
]
