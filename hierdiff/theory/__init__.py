"""What the mathematics says."""
