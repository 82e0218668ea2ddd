"""Tests of hostwright.proof."""
