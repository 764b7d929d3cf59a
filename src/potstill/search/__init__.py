"""Many versions of one recipe, tried, ranked by dev, and the best one run."""
