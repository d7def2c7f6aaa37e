"""The sandbox that agents and checks run in: what it hides, what it limits, and how it ends."""
