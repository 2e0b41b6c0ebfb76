"""Many modules of one architecture as one: parameters, rows and losses of all entities along a first axis."""
