"""The table of terms that a stage minimises."""
