"""Small stand-ins for big things."""
