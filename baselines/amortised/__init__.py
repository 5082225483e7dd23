"""Meta-learners that adapt by one forward pass: a solver or an encoder in place of gradient steps."""
