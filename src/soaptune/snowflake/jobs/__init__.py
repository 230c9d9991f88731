"""Submitting, finding, watching and removing ML Jobs."""
