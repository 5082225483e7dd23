"""Meta-learners that adapt by gradient steps."""
