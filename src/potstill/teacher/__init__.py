"""A recipe's teacher and its answers for the training texts: computed live, read from disk, or partly each."""
