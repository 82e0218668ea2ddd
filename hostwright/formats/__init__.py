"""One file format a module, bytes to values and back: deb, cpio, control, GPT, ELF, bzImage, DMAR and IVRS."""
