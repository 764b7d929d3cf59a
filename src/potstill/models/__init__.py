"""What is trained: encoders, their pooling, and how students are made."""
