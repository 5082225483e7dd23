"""Methods and files that cheat or break."""
