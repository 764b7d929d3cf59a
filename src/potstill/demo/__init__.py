"""A static folder that searches texts by meaning in a browser."""
