"""`[prepare]`: what agents and checks find ready made, prepared once and lent read-only."""

from services.preparation.kept import collect_unused
from services.preparation.preparations import Preparations, Wanted
from services.preparation.result import PreparationFailed

__all__ = ["PreparationFailed", "Preparations", "Wanted", "collect_unused"]
