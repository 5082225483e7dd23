"""What needs no learning from the support, or next to none: the rows that every table must beat."""
