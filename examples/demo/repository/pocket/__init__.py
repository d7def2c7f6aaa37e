"""Small amounts of money."""
