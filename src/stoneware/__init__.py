"""A Docker workflow for virtual machines."""

__version__ = "0.1.0"
