"""Everything that touches git: mirrors, workspaces, patches, candidates, integration.

Plain async functions over frozen values. No module here knows of events; services wrap them.
Repositories that agents have worked in are read as hostile input throughout.
"""
