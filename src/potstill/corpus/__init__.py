"""What a recipe trains on: read, split, enlarged."""
