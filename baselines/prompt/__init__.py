"""Prompt-tuning: a frozen reader, and a few vectors an entity learns from her support."""
