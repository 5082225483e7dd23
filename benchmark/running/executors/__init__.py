"""Ways to run many cells, behind one interface.

An executor is an object with one method,

    run(cells, root, act) -> generator of Outcome

which does `act(cell, root)` with every cell, in any order and wherever it likes, and tells of each cell when it starts
(`running`) and how it ended (`ok`, `failed`, `unsupported` or `lost`); between the two it may say that the cell is tried
`again` and pass on what its worker `said`. See `outcome.py` for the types. What an executor owes the driver:

- a cell's fault stays with the cell: the others go on;
- a fault of the machine (a worker killed, out of memory, a node lost) is tried once more in a fresh worker; a method's own
  exception is in the record that `act` returns, and is never tried again;
- a cell that outlives the time limit is stopped, and `act(stopped(cell, reason), root)` records it as failed (`stopped.py`);
- closing the generator, which Ctrl-C does, ends every worker at once; what is half written has a name that `files.sweep` knows;
- workers that do not share the driver's folder get a `root` of their own, and the executor brings back what `act` wrote there.

`local` runs worker processes of one thread each, `inline` runs the cells in this very process.
"""
