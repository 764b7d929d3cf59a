"""How a student is made of its source, before training."""
