"""What a run writes and shows: rows, the terminal, TensorBoard, Weights & Biases, films."""
