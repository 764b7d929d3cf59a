"""Finished runs side by side, and beside the figures of a publication."""
