"""The steps of the ledger, in Lua; `_ledger.lua` is the text that they share."""
