"""Machines of QEMU: virtual machines with a kernel of their own."""
