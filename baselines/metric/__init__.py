"""Meta-learners that adapt by comparing in a learned space."""
