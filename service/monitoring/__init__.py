"""What the service tells of itself: the snapshot of the ledger, and what is made of it."""
