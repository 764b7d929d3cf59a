"""What is trained: text encoders, their pooling and heads, in folders that other libraries load too."""
