"""Pure mathematics: one loss a file, the file named after it."""
