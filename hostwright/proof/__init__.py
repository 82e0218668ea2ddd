"""What was built is booted, and compared with what was expected."""
