"""Images as bootable disks: their kernel, their layout, their assembly, what is exported."""
