"""From files to batches: readers that check every line, texts tokenized once, and the order of a whole run."""
