"""Readers of files and data sets from outside: every error names the file and the line."""
