"""The builder: turns a requested build into a patch, by an agent in a clone of its own."""
