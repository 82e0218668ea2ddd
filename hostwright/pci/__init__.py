"""What a machine's PCI devices say, and the IOMMU groups that Linux makes of them; pure."""
