"""Metrics, and the loop that asks a learner for them."""
