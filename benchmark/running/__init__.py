"""From a board to finished cells: plan, environment, one cell, executors."""
