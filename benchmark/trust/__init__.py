"""Why anyone should believe a number: the laws that every method obeys."""
