"""What the machine gives: files, the cache, processes, precision, hardware and the terminal's progress bars."""
