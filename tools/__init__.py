"""Programs that make what nstcore ships: they need a checkout and are not installed."""
