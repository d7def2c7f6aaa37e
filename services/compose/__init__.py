"""The composition root: from settings to running services. Nothing else puts the parts together.

Each of the services is put together by a module that is loaded for a process that runs it: what one of them needs
takes a third of a second to load, and stays in memory.
"""

from services.compose.application import Application, Commands, Service
from services.compose.root import compose

__all__ = ["Application", "Commands", "Service", "compose"]
