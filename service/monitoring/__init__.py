"""The live figures of the fleet: what is polled from the ledger, counted in windows, and told to watchers."""
