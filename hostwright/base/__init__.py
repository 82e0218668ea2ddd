"""What knows nothing of Hostwright: errors, files, programs, places, jobs, times, PCI addresses."""
