"""What a model is worth (its scores) and what it costs."""

# Imports nothing: the probe is a module of this package and must pin the threads before numpy or torch is loaded.
