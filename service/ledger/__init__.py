"""The ledger in the store: one Lua step and one typed function for each change, and what is read of it."""
