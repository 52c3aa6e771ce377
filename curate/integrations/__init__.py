"""Recording in other people's training loops, without changing them."""
