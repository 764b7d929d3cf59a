"""All that can be known to be wrong with a recipe before any work."""
