"""Recording what libraries train, without a line in the training code.

A fit is recorded when autolog is on and there is a current run; a fit outside of a run records nothing. See
`docs/autolog.md`.
"""

from __future__ import annotations

from prefect_ml.tracking.autolog.switch import LIBRARIES, disable, enable, is_on, prepare, register_choice, scope
from prefect_ml.tracking.autolog.telling import register_logger

__all__ = ["LIBRARIES", "disable", "enable", "is_on", "prepare", "register_choice", "register_logger", "scope"]
