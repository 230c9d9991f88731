"""Preparing rows for training: exact de-duplication, and a split that keeps together what belongs together."""
