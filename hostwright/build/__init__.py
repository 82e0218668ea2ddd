"""A recipe and its sources become a staged tree in the store; the kernel too."""
