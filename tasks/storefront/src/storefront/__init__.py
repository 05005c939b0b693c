"""Order, inventory and pricing service of the shop."""

__version__ = "4.2.0"
