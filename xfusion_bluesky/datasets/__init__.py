"""Public data sets: what there is, and how it gets here complete and unharmed."""
