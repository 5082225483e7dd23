"""Slow, obvious versions to hold the fast ones against."""
