"""Torch pieces that several methods share."""
