"""Public data sets, checked and parsed into columns."""
