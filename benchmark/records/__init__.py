"""Cell records: one (board, dataset, method, seed), written once, whole."""
