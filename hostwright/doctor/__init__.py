"""What can go to a guest, and what stands in the way."""
