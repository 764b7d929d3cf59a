"""From a trained encoder to the files that ship."""
