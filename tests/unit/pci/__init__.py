"""Tests of hostwright.pci."""
