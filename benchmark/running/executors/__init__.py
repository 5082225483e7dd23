"""Ways to run many cells; each yields an outcome a cell, in any order."""
