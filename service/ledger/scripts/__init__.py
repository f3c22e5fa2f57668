"""The steps of the ledger, in Lua; `_*.lua` are the parts that they share."""
