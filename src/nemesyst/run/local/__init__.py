"""The executor on this machine: processes."""
