"""A static folder that searches texts by meaning in a browser.

torch is imported for the teacher's vectors alone.
"""
